"""Whether a cell's subnet would take the host's way to something else."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from executor.network.config import NetworkConfig
from executor.network.resolvers import resolvers

TYPE_UNREACHABLE = 7
_MAIN_TABLE = 254


def overlap(config: NetworkConfig, netlink: IPRoute) -> str | None:
    """What else the host reaches within ``config``'s subnet, in words; None for nothing.

    The cell's own routes, of this life or an earlier one, do not count. Raises NetworkError for a
    configured name server that is no address, OSError and NetlinkError when the kernel does not tell.
    """
    for route in routes(netlink):
        found = destination(route)
        if found.prefixlen == 0 or not found.overlaps(config.network):
            continue
        if route["type"] == TYPE_UNREACHABLE and found == config.network:
            continue
        interface = _interface(netlink, route)
        if interface == config.name or interface.startswith(config.port_prefix):
            continue
        return (
            f"the containers' subnet {config.network} overlaps {found}, "
            f"which this host reaches through {interface}"
        )
    return _with_name_server(config, resolvers(config.dns_servers))


def _interface(netlink: IPRoute, route: rtmsg) -> str:
    if not route.get("oif"):
        return "no interface"
    (link,) = netlink.get_links(route.get("oif"))
    return str(link.get("ifname"))


def _with_name_server(config: NetworkConfig, servers: Sequence[IPv4Address]) -> str | None:
    for server in servers:
        if server in config.network:
            return f"the containers' subnet {config.network} has the name server {server} in it"
    return None


def routes(netlink: IPRoute) -> Iterator[rtmsg]:
    """Those of the main table."""
    yield from netlink.get_routes(table=_MAIN_TABLE, family=socket.AF_INET)


def destination(route: rtmsg) -> IPv4Network:
    """Where a route leads."""
    return IPv4Network(f"{route.get('dst') or '0.0.0.0'}/{route['dst_len']}")
