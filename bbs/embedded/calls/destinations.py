"""Destination rules for URLs that clients choose.

A completion callback is a request from this process, on this machine, to a URL that a client chose. It must
not reach services that trust this process but not the client: the listeners of the plane and of its cells,
and link-local addresses, where clouds serve machine credentials. All other addresses are allowed, including
loopback: a Cloud Controller or a test may listen there. The rules apply to resolved addresses.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from bbs.serving.address import ANY_HOSTS, Address


class Refused(OSError):
    """A connection to an address that the rules exclude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """The rules.

    closed: listeners that must not be reached. A listener on all addresses is closed on every loopback
    address.
    """

    closed: Collection[Address] = ()

    def refusal(self, host: str, port: int) -> str:
        """Why the address is refused, empty if it is allowed. Raises ValueError for a host name."""
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(port == listener.port and _reaches(address, listener.host) for listener in self.closed):
            return "it is a listener of this control plane or of its cells"
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
    """Whether a connection to the address reaches a listener on that host."""
    if address.is_unspecified:  # the kernel connects to loopback
        return True
    if host in ANY_HOSTS:
        return address.is_loopback
    try:
        return address == ip_address(host)
    except ValueError:  # a name, such as localhost
        return address.is_loopback
