"""IPv6 on the links of containers, where the host has it.

A container's default gateway is a link-local address, the same on the host's end of each link. Neighbour
discovery works as on any link, and no address of the subnet is on more than one link. Duplicate address
detection is off: a link has only two ends, and addresses are usable at once.
"""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

from pyroute2 import IPRoute

from executor.network.config import NetworkConfig
from executor.network.overlap import TYPE_UNREACHABLE
from executor.network.sysctl import SYSCTL, set_sysctl

ROUTER = "fe80::1"
"""The host's address on each link."""

_ADDRESSES = Path("/proc/net/if_inet6")
_SETTINGS = SYSCTL / "net/ipv6/conf"
_UNLESS_FORWARDING, _ALWAYS = "1", "2"
"""Values of accept_ra: when an interface accepts router advertisements."""

_NO_DUPLICATE_DETECTION = 0x02
_LOWEST_PRIORITY = 4278198272
_MAIN_TABLE = 254

_HOST_END = {
    "disable_ipv6": "0",
    "addr_gen_mode": "1",  # no generated addresses
    "forwarding": "1",
    "accept_ra": "0",  # containers are not routers
    "accept_redirects": "0",
}
_CONTAINER_END = {"accept_ra": "0", "dad_transmits": "0"}


def host_has_ipv6(addresses: Path = _ADDRESSES, settings: Path = _SETTINGS) -> bool:
    """Whether the kernel has IPv6 and it is not disabled."""
    return addresses.exists() and _read(settings / "all" / "disable_ipv6") == "0"


def listening_to_routers(settings: Path = _SETTINGS) -> list[str]:
    """The interfaces that accept router advertisements only while the host does not forward.

    They would lose their routes when the host starts to forward. Empty if it forwards already.
    """
    if _read(settings / "all" / "forwarding") != "0":
        return []
    return sorted(
        one.name
        for one in settings.iterdir()
        if one.name not in ("all", "default") and _read(one / "accept_ra") == _UNLESS_FORWARDING
    )


class IPv6Links:
    """The IPv6 part of the links of one cell. All calls block."""

    def __init__(self, config: NetworkConfig, network: IPv6Network) -> None:
        """network: the IPv6 subnet of ``config``."""
        self._config = config
        self._network = network

    def ensure_gateway(self, netlink: IPRoute, name: str) -> None:
        """Set the gateway address of the interface ``name`` and the route for subnet addresses without a
        container.

        Raises NetworkError.
        """
        set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "0")
        index = socket.if_nametoindex(name)
        gateway = self._address(self._config.gateway)
        for found in netlink.addr("dump", index=index, family=socket.AF_INET6):
            address = found.get("address")
            if address != gateway and not IPv6Address(address).is_link_local:
                netlink.addr("del", index=index, address=address, prefixlen=found["prefixlen"])
        _add_address(netlink, index, gateway, 128)
        netlink.route(
            "replace",
            family=socket.AF_INET6,
            dst=str(self._network),
            type=TYPE_UNREACHABLE,
            priority=_LOWEST_PRIORITY,
        )
        _forward()

    def remove_routes(self, netlink: IPRoute) -> None:
        """Remove the route of the subnet, if it exists."""
        for route in netlink.get_routes(table=_MAIN_TABLE, family=socket.AF_INET6):
            found = IPv6Network(f"{route.get('dst') or '::'}/{route['dst_len']}")
            if route["type"] == TYPE_UNREACHABLE and found == self._network:
                netlink.route(
                    "del",
                    family=socket.AF_INET6,
                    dst=str(self._network),
                    type=TYPE_UNREACHABLE,
                    priority=_LOWEST_PRIORITY,
                )

    def prepare_host_end(self, name: str) -> None:
        """Set the sysctls of a link's host end before it is up. Raises NetworkError."""
        for key, value in _HOST_END.items():
            set_sysctl(f"net/ipv6/conf/{name}/{key}", value)

    def set_up_host_end(self, netlink: IPRoute, index: int) -> None:
        """Add the router address for the container's end."""
        _add_address(netlink, index, ROUTER, 64)

    def route_to(self, netlink: IPRoute, index: int, address: IPv4Address) -> None:
        """Add the route to the container with this IPv4 address."""
        netlink.route(
            "replace",
            family=socket.AF_INET6,
            dst=f"{self._address(address)}/128",
            oif=index,
            prefsrc=self._address(self._config.gateway),
        )

    def prepare_container_end(self, name: str) -> None:
        """Set the sysctls of a container's end before it is up, in its namespace. Raises NetworkError."""
        set_sysctl("net/ipv6/conf/all/disable_ipv6", "0")
        for key, value in _CONTAINER_END.items():
            set_sysctl(f"net/ipv6/conf/{name}/{key}", value)

    def set_up_container_end(self, inside: IPRoute, index: int, address: IPv4Address) -> None:
        """Add the IPv6 address that belongs to the IPv4 address, and the default route."""
        _add_address(inside, index, self._address(address), 128)
        inside.route("add", family=socket.AF_INET6, dst="::/0", gateway=ROUTER, oif=index)

    def _address(self, address: IPv4Address) -> str:
        return str(self._config.ipv6_of(address))


def _forward() -> None:
    """Enable forwarding; interfaces that accept router advertisements keep accepting them. Raises
    NetworkError.
    """
    for interface in listening_to_routers():
        set_sysctl(f"net/ipv6/conf/{interface}/accept_ra", _ALWAYS)
    set_sysctl("net/ipv6/conf/all/forwarding", "1")


def _add_address(netlink: IPRoute, index: int, address: str, prefix: int) -> None:
    netlink.addr("replace", index=index, address=address, prefixlen=prefix, flags=_NO_DUPLICATE_DETECTION)


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii").strip()
    return ""
