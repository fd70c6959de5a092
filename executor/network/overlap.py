"""Detection of overlaps between a cell's subnet and the host's routes."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from pyroute2 import IPRoute, NetlinkError
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from executor.network.config import NetworkConfig
from executor.network.resolvers import resolvers, resolvers_ipv6

TYPE_UNREACHABLE = 7
_WITHOUT_DESTINATION = (6, TYPE_UNREACHABLE, 8)  # also black holes and prohibited routes
_MAIN_TABLE = 254


def overlap(config: NetworkConfig, netlink: IPRoute) -> str | None:
    """Message about another route or name server in ``config``'s subnet; None without overlap.

    The cell's own routes do not count, including those of a previous process. Raises NetworkError for an
    invalid name server, OSError and NetlinkError if the kernel's routes cannot be read.
    """
    for route in routes(netlink):
        found = destination(route)
        if found.prefixlen == 0 or not found.overlaps(config.network):
            continue
        if route["type"] == TYPE_UNREACHABLE and found == config.network:
            continue
        if taken := _leads_elsewhere(config, netlink, route):
            return f"the containers' subnet {config.network} overlaps {found}, {taken}"
    if config.network_ipv6 is not None and (taken := _overlap_ipv6(config, config.network_ipv6, netlink)):
        return taken
    return _with_name_server(config)


def _overlap_ipv6(config: NetworkConfig, network: IPv6Network, netlink: IPRoute) -> str | None:
    """Wider routes do not count: parts of a prefix are assigned on purpose, and unique local ones are
    generated.
    """
    for route in netlink.get_routes(table=_MAIN_TABLE, family=socket.AF_INET6):
        found = IPv6Network(f"{route.get('dst') or '::'}/{route['dst_len']}")
        if route["type"] in _WITHOUT_DESTINATION or not found.subnet_of(network):
            continue
        if taken := _leads_elsewhere(config, netlink, route):
            return f"the containers' subnet {network} overlaps {found}, {taken}"
    return None


def _leads_elsewhere(config: NetworkConfig, netlink: IPRoute, route: rtmsg) -> str | None:
    """Message about a route's interface; None for the cell's own routes."""
    try:
        interface = _interface(netlink, route)
    except NetlinkError as error:
        if error.code == errno.ENODEV:  # the interface and its route are gone meanwhile
            return None
        raise
    if interface == config.name or interface.startswith(config.port_prefix):
        return None
    return f"which this host reaches through {interface}"


def _interface(netlink: IPRoute, route: rtmsg) -> str:
    if not route.get("oif"):
        return "no interface"
    (link,) = netlink.get_links(route.get("oif"))
    return str(link.get("ifname"))


def _with_name_server(config: NetworkConfig) -> str | None:
    for server in (*resolvers(config.dns_servers), *resolvers_ipv6(config.dns_servers)):
        for network in (config.network, config.network_ipv6):
            if network is not None and server in network:
                return f"the containers' subnet {network} has the name server {server} in it"
    return None


def routes(netlink: IPRoute) -> Iterator[rtmsg]:
    """The routes of the main table."""
    yield from netlink.get_routes(table=_MAIN_TABLE, family=socket.AF_INET)


def destination(route: rtmsg) -> IPv4Network:
    """The destination of a route."""
    return IPv4Network(f"{route.get('dst') or '0.0.0.0'}/{route['dst_len']}")
