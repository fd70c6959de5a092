"""IPv6 on the links of containers, where the host has it.

A container's way out is a link-local address, the same on the host's end of each link: neighbours are found
there as on any link, and no address of the subnet has to be on more than one. Nobody looks for duplicates:
there is nobody else on a link, and addresses are good at once.
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
"""The host on each link."""

_ADDRESSES = Path("/proc/net/if_inet6")
_SETTINGS = SYSCTL / "net/ipv6/conf"
_UNLESS_FORWARDING, _ALWAYS = "1", "2"
"""When an interface listens to what routers advertise."""

_NO_LOOK_FOR_DUPLICATES = 0x02
_LOWEST_PRIORITY = 4278198272
_MAIN_TABLE = 254

_HOST_END = {
    "disable_ipv6": "0",
    "addr_gen_mode": "1",  # no address but ours
    "forwarding": "1",
    "accept_ra": "0",  # containers are no routers
    "accept_redirects": "0",
}
_CONTAINER_END = {"accept_ra": "0", "dad_transmits": "0"}


def host_has_ipv6(addresses: Path = _ADDRESSES, settings: Path = _SETTINGS) -> bool:
    """Whether the kernel has it and nobody has turned it off."""
    return addresses.exists() and _read(settings / "all" / "disable_ipv6") == "0"


def listening_to_routers(settings: Path = _SETTINGS) -> list[str]:
    """The interfaces that learn routes from routers as long as this host is none itself.

    They would forget them when it begins to forward. None when it does so already.
    """
    if _read(settings / "all" / "forwarding") != "0":
        return []
    return sorted(
        one.name
        for one in settings.iterdir()
        if one.name not in ("all", "default") and _read(one / "accept_ra") == _UNLESS_FORWARDING
    )


class IPv6Links:
    """What the links of one cell have besides IPv4. All calls block."""

    def __init__(self, config: NetworkConfig, network: IPv6Network) -> None:
        """network: the subnet of ``config``, which has one."""
        self._config = config
        self._network = network

    def ensure_gateway(self, netlink: IPRoute, name: str) -> None:
        """Address of the interface ``name``, and what becomes of those of the subnet without a container.

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
        """That of the subnet; a missing one is fine."""
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
        """Settings of the host's end of a link, before it is up. Raises NetworkError."""
        for key, value in _HOST_END.items():
            set_sysctl(f"net/ipv6/conf/{name}/{key}", value)

    def set_up_host_end(self, netlink: IPRoute, index: int) -> None:
        """The way out for what is at the other end."""
        _add_address(netlink, index, ROUTER, 64)

    def route_to(self, netlink: IPRoute, index: int, address: IPv4Address) -> None:
        """The way to the container with this address of IPv4."""
        netlink.route(
            "replace",
            family=socket.AF_INET6,
            dst=f"{self._address(address)}/128",
            oif=index,
            prefsrc=self._address(self._config.gateway),
        )

    def prepare_container_end(self, name: str) -> None:
        """Settings of a container's end, before it is up. Call in its namespace. Raises NetworkError."""
        set_sysctl("net/ipv6/conf/all/disable_ipv6", "0")
        for key, value in _CONTAINER_END.items():
            set_sysctl(f"net/ipv6/conf/{name}/{key}", value)

    def set_up_container_end(self, inside: IPRoute, index: int, address: IPv4Address) -> None:
        """The address that goes with that of IPv4, and the way out."""
        _add_address(inside, index, self._address(address), 128)
        inside.route("add", family=socket.AF_INET6, dst="::/0", gateway=ROUTER, oif=index)

    def _address(self, address: IPv4Address) -> str:
        return str(self._config.ipv6_of(address))


def _forward() -> None:
    """Forward packets, and go on listening to routers where the host does. Raises NetworkError."""
    for interface in listening_to_routers():
        set_sysctl(f"net/ipv6/conf/{interface}/accept_ra", _ALWAYS)
    set_sysctl("net/ipv6/conf/all/forwarding", "1")


def _add_address(netlink: IPRoute, index: int, address: str, prefix: int) -> None:
    netlink.addr("replace", index=index, address=address, prefixlen=prefix, flags=_NO_LOOK_FOR_DUPLICATES)


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii").strip()
    return ""
