"""Overlaps between a cell's subnet and the host's routes, in separate namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Network
from pathlib import Path

import pytest
from pyroute2 import IPRoute, NetNS

from cell.development.slots import conflict_of, take_slots
from executor.network import resolvers
from executor.network.config import NetworkConfig
from executor.network.overlap import overlap

pytestmark = pytest.mark.docker

CELL = NetworkConfig(name="cell-overlap", table="t", subnet="10.77.0.0/20", dns_servers=("192.0.2.1",))


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, IPRoute]]:
    """The name of a namespace without interfaces, and what talks to its kernel side."""
    name = f"overlap-{os.getpid()}"
    netlink = NetNS(name)
    try:
        yield name, netlink
    finally:
        netlink.close()
        netlink.remove()


def ip(space: str, *arguments: str) -> None:
    subprocess.run(["ip", "-n", space, *arguments], check=True, capture_output=True)


def test_nothing_is_in_the_way(elsewhere: tuple[str, IPRoute]) -> None:
    space, netlink = elsewhere
    ip(space, "link", "add", "uplink", "up", "type", "bridge")
    ip(space, "addr", "add", "192.0.2.7/24", "dev", "uplink")
    ip(space, "route", "add", "default", "via", "192.0.2.1")
    assert overlap(CELL, netlink) is None


@pytest.mark.parametrize("address", ["10.77.15.1/24", "10.0.0.1/8"])
def test_an_interface_that_leads_there(elsewhere: tuple[str, IPRoute], address: str) -> None:
    space, netlink = elsewhere
    ip(space, "link", "add", "tunnel", "up", "type", "bridge")
    ip(space, "addr", "add", address, "dev", "tunnel")
    network = "10.77.15.0/24" if "77" in address else "10.0.0.0/8"
    assert overlap(CELL, netlink) == (
        f"the containers' subnet 10.77.0.0/20 overlaps {network}, which this host reaches through tunnel"
    )


@pytest.mark.parametrize(
    ("address", "taken"),
    [("fd77:1:2:3::1/64", True), ("fd77:1:2:3:4::1/80", True), ("fd77:1:2::1/48", False)],
)
def test_an_interface_that_leads_there_with_ipv6(
    elsewhere: tuple[str, IPRoute], address: str, taken: bool
) -> None:
    """Who has a prefix gives parts of it away."""
    space, netlink = elsewhere
    config = NetworkConfig(
        name="cell-overlap", table="t", subnet="10.77.0.0/20", subnet_ipv6="fd77:1:2:3::/64"
    )
    ip(space, "link", "add", "tunnel", "up", "type", "bridge")
    ip(space, "-6", "addr", "add", address, "dev", "tunnel", "nodad")
    found = IPv6Network(address, strict=False)
    expected = (
        f"the containers' subnet fd77:1:2:3::/64 overlaps {found}, which this host reaches through tunnel"
    )
    assert overlap(config, netlink) == (expected if taken else None)


def test_what_an_earlier_life_left_is_its_own(elsewhere: tuple[str, IPRoute]) -> None:
    space, netlink = elsewhere
    link = CELL.port_name(CELL.network[9])
    for name in (CELL.name, link):
        ip(space, "link", "add", name, "up", "type", "bridge")
    ip(space, "addr", "add", "10.77.0.1/32", "dev", CELL.name)
    ip(space, "route", "add", "10.77.0.9/32", "dev", link)
    ip(space, "route", "add", "unreachable", "10.77.0.0/20")
    ip(space, "-6", "addr", "add", f"{CELL.gateway_ipv6}/128", "dev", CELL.name, "nodad")
    ip(space, "-6", "route", "add", f"{CELL.ipv6_of(CELL.network[9])}/128", "dev", link)
    ip(space, "-6", "route", "add", "unreachable", str(CELL.network_ipv6))
    assert overlap(CELL, netlink) is None


def test_the_name_server_lies_in_it(
    elsewhere: tuple[str, IPRoute], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, netlink = elsewhere
    (tmp_path / "resolv.conf").write_text("nameserver 10.77.3.53\n")
    monkeypatch.setattr(resolvers, "RESOLV_CONF", tmp_path / "resolv.conf")
    config = NetworkConfig(name="cell-overlap", table="t", subnet="10.77.0.0/20")
    assert overlap(config, netlink) == (
        "the containers' subnet 10.77.0.0/20 has the name server 10.77.3.53 in it"
    )
    (tmp_path / "resolv.conf").write_text("nameserver fd77::53\n")
    assert overlap(replace(config, subnet_ipv6="fd77::/64"), netlink) == (
        "the containers' subnet fd77::/64 has the name server fd77::53 in it"
    )


def test_an_interface_that_goes_meanwhile_takes_its_route_along(
    elsewhere: tuple[str, IPRoute], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As links of containers do that were just removed."""
    space, netlink = elsewhere
    ip(space, "link", "add", "going", "up", "type", "bridge")
    ip(space, "route", "add", "10.77.0.9/32", "dev", "going")
    told = list(netlink.get_routes(table=254, family=socket.AF_INET))
    ip(space, "link", "del", "going")
    monkeypatch.setattr(
        netlink, "get_routes", lambda *, family, **_: told if family == socket.AF_INET else []
    )
    assert overlap(CELL, netlink) is None


async def test_a_slot_is_taken_while_an_event_loop_runs(tmp_path: Path) -> None:
    with take_slots(1, tmp_path) as (slot,):
        assert conflict_of(slot) is None
