"""Where the control plane may be sent: rules for URLs that clients name.

A completion callback is a request that this process makes, from this machine, to a URL of a client's choice.
So it may not go where this process is trusted and the client is not: to the listeners of the plane and of
its cells, which do what they are asked, and to link-local addresses, where clouds give out the credentials of
a machine. Everything else is allowed, loopback included: a Cloud Controller or a test may listen there.
Rules are applied to addresses, after names have been resolved.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from bbs.serving.address import ANY_HOSTS, Address

Network = IPv4Network | IPv6Network


class Refused(OSError):
    """A connection to an address that the rules exclude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """The rules.

    closed: listeners that no connection may go to; one on all addresses is closed on each loopback address.
    networks: the only ones that connections may go to; None for all that are not link-local or multicast.
    """

    closed: Collection[Address] = ()
    networks: Collection[Network] | None = None

    def refusal(self, host: str, port: int) -> str:
        """Why no connection may go to an address, empty when it may. Raises ValueError for a name."""
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(port == listener.port and _reaches(address, listener.host) for listener in self.closed):
            return "it is a listener of this control plane or of its cells"
        if self.networks is not None:
            allowed = any(address in network for network in self.networks)
            return "" if allowed else "it is in none of the allowed networks"
        if address.is_unspecified or address.is_multicast or address == IPv4Address("255.255.255.255"):
            return "it is not the address of a host"
        return "it is link-local" if address.is_link_local else ""

    def socket_factory(self, info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """A socket for an address that aiohttp is about to connect to. Raises Refused."""
        family, kind, protocol, _, where = info
        if why := self.refusal(where[0], where[1]):
            raise Refused(f"callbacks may not go to {Address(where[0], where[1])}: {why}")
        return socket.socket(family, kind, protocol)


def _reaches(address: IPv4Address | IPv6Address, host: str) -> bool:
    """Whether a connection to the address ends at a listener on that host."""
    if address.is_unspecified:  # the kernel takes it for the loopback address
        return True
    if host in ANY_HOSTS:
        return address.is_loopback
    try:
        return address == ip_address(host)
    except ValueError:  # a name, such as localhost
        return address.is_loopback
