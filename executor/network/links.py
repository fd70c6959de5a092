"""Links of containers: a veth pair each, one end on the host, the other in the container.

Containers are not ports of a common bridge; the host routes to each of them. This has four advantages:

- There is no limit of ports per bridge.
- A packet between two containers passes the same rules, whether or not the kernel filters bridged frames.
- A container can dial itself through the host without hairpin mode.
- The packet table detects a spoofed source address by the route back. We do not use ``rp_filter``: it
  belongs to the host's administrator, whose settings udev applies to new interfaces after us.

The interface with the gateway's address is a bridge without ports, because every kernel has that kind.

All functions block and run in a thread of their own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from executor.errors import NetworkError
from executor.network.config import IPV6_MTU, NetworkConfig
from executor.network.ipv6 import IPv6Links
from executor.network.overlap import TYPE_UNREACHABLE, destination, overlap, routes
from executor.network.spaces import inside
from executor.network.sysctl import set_sysctl

INTERFACE = "eth0"
"""Name of a link's container end."""

_SCOPE_LINK = 253
_LOWEST_PRIORITY = 4278198272
"""Metric of the route for addresses of the subnet without a container."""

_SMALLEST_BURST = 128 << 10
"""Burst in bytes: at least two of the largest packets that the kernel passes on unsplit."""
_LATENCY_US = 100_000
"""Longest time of a packet in the queue."""

_HOST_MAC = "02:cf:00:00:00:01"
_IPV4_SYSCTLS = {
    "route_localnet": "1",  # clients of mapped ports may be on the loopback interface
    "send_redirects": "0",
}


def _mac(address: IPv4Address) -> str:
    return "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed)


@contextlib.contextmanager
def _kernel_errors(what: str) -> Iterator[None]:
    """Converts the kernel's errors to NetworkError."""
    try:
        yield
    except NetlinkError as error:
        raise NetworkError(f"{what}: {os.strerror(error.code)}") from error
    except OSError as error:
        raise NetworkError(f"{what}: {error.strerror}") from error


class Links:
    """The interfaces of one cell."""

    def __init__(self, config: NetworkConfig) -> None:
        self._config = config
        self._mtu = config.mtu
        self._ipv6 = IPv6Links(config, config.network_ipv6) if config.network_ipv6 else None

    def ensure_gateway(self) -> None:
        """Create the gateway's interface and its routes if they are missing. Raises NetworkError."""
        config = self._config
        with _kernel_errors(f"set up interface {config.name}"), IPRoute() as netlink:
            if taken := overlap(config, netlink):
                raise NetworkError(f"{taken}; choose another network_subnet")
            self._mtu = self._mtu or _mtu_of_default_route(netlink)
            if self._mtu < IPV6_MTU:
                self._ipv6 = None
            if not self.gateway_exists():
                netlink.link("add", ifname=config.name, kind="bridge", address=_HOST_MAC)
            index = socket.if_nametoindex(config.name)
            netlink.link("set", index=index, state="up", mtu=self._mtu)
            for found in netlink.addr("dump", index=index, family=socket.AF_INET):
                if (local := found.get("local")) != str(config.gateway):
                    netlink.addr("del", index=index, address=local, prefixlen=found["prefixlen"])
            netlink.addr("replace", index=index, address=str(config.gateway), prefixlen=32)
            netlink.route(
                "replace", dst=str(config.network), type=TYPE_UNREACHABLE, priority=_LOWEST_PRIORITY
            )
            if self._ipv6 is not None:
                self._ipv6.ensure_gateway(netlink, config.name)
        set_sysctl("net/ipv4/ip_forward", "1")

    def remove_gateway(self) -> None:
        """Remove the gateway's interface and its routes, if they exist. Raises NetworkError."""
        config = self._config
        with _kernel_errors(f"remove interface {config.name}"), IPRoute() as netlink:
            _delete(netlink, config.name)
            for route in routes(netlink):
                if route["type"] == TYPE_UNREACHABLE and destination(route) == config.network:
                    netlink.route(
                        "del", dst=str(config.network), type=TYPE_UNREACHABLE, priority=_LOWEST_PRIORITY
                    )
            if self._ipv6 is not None:
                self._ipv6.remove_routes(netlink)

    def remove_all(self) -> None:
        """Remove all links, the gateway's interface and its routes. Raises NetworkError.

        An interface of this name that the cell did not make stays.
        """
        with _kernel_errors(f"remove links of {self._config.name}"), IPRoute() as netlink:
            for name in self.port_names():
                _delete(netlink, name)
            foreign = self.gateway_exists() and not netlink.link_lookup(
                ifname=self._config.name, address=_HOST_MAC
            )
        if not foreign:
            self.remove_gateway()

    def remove_ipv6_routes(self) -> None:
        """Remove the route of the IPv6 subnet, if it exists. Raises NetworkError."""
        if self._ipv6 is not None:
            with _kernel_errors("remove the route of the IPv6 subnet"), IPRoute() as netlink:
                self._ipv6.remove_routes(netlink)

    def port_names(self) -> set[str]:
        """The host ends of all links of the cell, including those of previous processes."""
        return {name for _, name in socket.if_nameindex() if name.startswith(self._config.port_prefix)}

    def gateway_exists(self) -> bool:
        """Whether the gateway's interface exists."""
        return self._config.name in (name for _, name in socket.if_nameindex())

    def connect(self, space: int, address: IPv4Address) -> bool:
        """Link the network namespace with the descriptor ``space``; False if it is linked already.

        Raises NetworkError.
        """
        name = self._config.port_name(address)
        with _kernel_errors(f"link {name} of {address}"), IPRoute() as netlink:
            with inside(space):
                if any(found == INTERFACE for _, found in socket.if_nameindex()):
                    return False
            self._make_pair(netlink, name, space, address)
            self._configure_host_end(netlink, name, address)
            with inside(space):
                self._configure_container_end(address)
        return True

    def unreachable(self, addresses: Iterable[IPv4Address]) -> list[IPv4Address]:
        """Addresses without a route on the host: the link is gone or down, or the route was removed.

        Raises NetworkError.
        """
        with _kernel_errors("routes to containers"):
            routes = _link_routes()
        return [each for each in addresses if (self._config.port_name(each), each) not in routes]

    def repair(self, space: int, address: IPv4Address) -> None:
        """Make the container with this address reachable again; see :meth:`unreachable`.

        Raises NetworkError.
        """
        if not self.connect(space, address):
            name = self._config.port_name(address)
            with _kernel_errors(f"link {name} of {address}"), IPRoute() as netlink:
                index = socket.if_nametoindex(name)
                netlink.link("set", index=index, state="up")
                if self._ipv6 is not None:
                    self._ipv6.set_up_host_end(netlink, index)
                self._route_to(netlink, index, address)

    def reroute(self, addresses: Iterable[IPv4Address]) -> None:
        """Restore the routes to linked containers, which the kernel removes with the gateway's address.

        Raises NetworkError.
        """
        with _kernel_errors("routes to containers"), IPRoute() as netlink:
            present = {name: index for index, name in socket.if_nameindex()}
            for address in addresses:
                if index := present.get(self._config.port_name(address)):
                    self._route_to(netlink, index, address)

    def disconnect(self, address: IPv4Address) -> None:
        """Remove the link of the container with this address, if it exists. Raises NetworkError."""
        name = self._config.port_name(address)
        with _kernel_errors(f"remove link {name} of {address}"), IPRoute() as netlink:
            _delete(netlink, name)

    def _make_pair(self, netlink: IPRoute, name: str, space: int, address: IPv4Address) -> None:
        pair = {
            "ifname": name,
            "kind": "veth",
            "mtu": self._mtu,
            "address": _HOST_MAC,
            "peer": {"ifname": INTERFACE, "net_ns_fd": space, "mtu": self._mtu, "address": _mac(address)},
        }
        try:
            netlink.link("add", **pair)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            # A previous container had this address, and the kernel has not yet removed its namespace.
            _delete(netlink, name)
            netlink.link("add", **pair)

    def _configure_host_end(self, netlink: IPRoute, name: str, address: IPv4Address) -> None:
        for key, value in _IPV4_SYSCTLS.items():
            set_sysctl(f"net/ipv4/conf/{name}/{key}", value)
        if self._ipv6 is not None:
            self._ipv6.prepare_host_end(name)
        elif Path("/proc/sys/net/ipv6").exists():
            set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
        index = socket.if_nametoindex(name)
        netlink.link("set", index=index, state="up")
        _limit(netlink, index, self._config.bandwidth_in)
        if self._ipv6 is not None:
            self._ipv6.set_up_host_end(netlink, index)
        self._route_to(netlink, index, address)

    def _route_to(self, netlink: IPRoute, index: int, address: IPv4Address) -> None:
        netlink.route(
            "replace", dst=f"{address}/32", oif=index, scope=_SCOPE_LINK, prefsrc=str(self._config.gateway)
        )
        if self._ipv6 is not None:
            self._ipv6.route_to(netlink, index, address)

    def _configure_container_end(self, address: IPv4Address) -> None:
        index = socket.if_nametoindex(INTERFACE)
        if self._ipv6 is not None:
            self._ipv6.prepare_container_end(INTERFACE)
        with IPRoute() as inside:
            inside.addr("add", index=index, address=str(address), prefixlen=32)
            inside.link("set", index=index, state="up")
            _limit(inside, index, self._config.bandwidth_out)
            gateway = str(self._config.gateway)
            inside.route("add", dst=f"{gateway}/32", oif=index, scope=_SCOPE_LINK)
            inside.route("add", dst="0.0.0.0/0", gateway=gateway, oif=index)
            if self._ipv6 is not None:
                self._ipv6.set_up_container_end(inside, index, address)


def _link_routes() -> set[tuple[str, IPv4Address]]:
    """Interface and destination of every single-address route of the main table.

    The kernel removes the routes of an interface that is removed or goes down.
    """
    lines = Path("/proc/thread-self/net/route").read_text(encoding="ascii").splitlines()[1:]
    fields = (line.split() for line in lines)
    return {
        (one[0], IPv4Address(int(one[1], 16).to_bytes(4, sys.byteorder)))
        for one in fields
        if one[7] == "FFFFFFFF"
    }


def _delete(netlink: IPRoute, name: str) -> None:
    try:
        netlink.link("del", index=socket.if_nametoindex(name))
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise
    except OSError:
        return


def _mtu_of_default_route(netlink: IPRoute) -> int:
    for route in routes(netlink):
        if route["dst_len"] == 0 and route.get("oif"):
            (link,) = netlink.get_links(route.get("oif"))
            return int(link.get("mtu"))
    return 1500


def _limit(netlink: IPRoute, index: int, rate: int) -> None:
    """Limit an interface's outgoing traffic to ``rate`` bytes/s; 0 for no limit.

    A container's outgoing traffic is limited at its own end; only a privileged container could change
    that.
    """
    if rate:
        burst = max(rate // 50, _SMALLEST_BURST)
        netlink.tc("add", "tbf", index=index, handle=0x10000, rate=rate, burst=burst, latency=_LATENCY_US)
