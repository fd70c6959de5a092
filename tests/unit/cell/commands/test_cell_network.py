"""`cell network`: output for a packet table."""

from __future__ import annotations

import json

import pytest

from cell.commands.network import containers, details, overview
from executor.network.actualtable import parse

pytestmark = pytest.mark.unit

ADDRESS, OTHER = "10.255.0.2", "10.255.0.3"


def element(value: object, packets: int | None = None, guid: str = "") -> dict[str, object]:
    body: dict[str, object] = {"val": value}
    if packets is not None:
        body["counter"] = {"packets": packets, "bytes": 0}
    if guid:
        body["comment"] = guid
    return {"elem": body}


def named(name: str, types: object, elements: list[object]) -> dict[str, object]:
    return {"name": name, "table": "t", "family": "inet", "type": types, "elem": elements}


LISTING = json.dumps(
    {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {
                "map": named(
                    "ports",
                    ["inet_proto", "inet_service"],
                    [[element({"concat": [6, 61001]}, guid="web-1"), {"concat": [ADDRESS, 8080]}]],
                )
            },
            {
                "map": named(
                    "containers",
                    "ipv4_addr",
                    [[element(ADDRESS, guid="web-1"), {"jump": {"target": "egress_ab"}}]],
                )
            },
            {"set": named("refused", "ipv4_addr", [element(ADDRESS, 3, "web-1"), element(OTHER, 0, "db-1")])},
            {
                "set": named(
                    "egress_ab_ports_log",
                    ["ipv4_addr", "inet_proto", "inet_service"],
                    [element({"concat": [{"prefix": {"addr": "192.0.2.0", "len": 24}}, 6, 443]}, 12)],
                )
            },
            {
                "set": named(
                    "egress_ab_icmp",
                    ["ipv4_addr", "icmp_type", "icmp_code"],
                    [element({"concat": ["192.0.2.1", 8, {"range": [0, 255]}]}, 1)],
                )
            },
            {
                "set": named(
                    "egress_ab_other", "ipv4_addr", [element({"range": ["192.0.2.1", "192.0.2.9"]}, 0)]
                )
            },
        ]
    }
)


def test_all_containers() -> None:
    assert overview(containers(parse(LISTING))).splitlines() == [
        "CONTAINER  ADDRESS     PORTS        RULES  REFUSED",
        "db-1       10.255.0.3  -            0      0",
        "web-1      10.255.0.2  61001->8080  3      3",
    ]


def test_one_container() -> None:
    database, web = containers(parse(LISTING))
    assert details(web, (10, 20)).splitlines() == [
        "container  web-1",
        "address    10.255.0.2",
        "ports      61001->8080",
        "traffic    10 bytes in, 20 bytes out",
        "refused    3 packets",
        "",
        "ALLOWED                              CONNECTIONS  LOG",
        "icmp 192.0.2.1 type 8 code 0-255     1            -",
        "other protocols 192.0.2.1-192.0.2.9  0            -",
        "tcp 192.0.2.0-192.0.2.255 port 443   12           logged",
    ]
    assert details(database, None).splitlines()[2:] == [
        "ports      none",
        "traffic    no link",
        "refused    0 packets",
        "rules      none of its own",
    ]


def test_a_container_with_ipv6_is_one_container() -> None:
    six = "fd00::2"
    elements: list[tuple[str, object, list[object]]] = [
        ("refused", "ipv4_addr", [element(ADDRESS, 3, "web-1")]),
        ("refused6", "ipv6_addr", [element(six, 4, "web-1")]),
        (
            "egress_ab_ports6",
            ["ipv6_addr", "inet_proto", "inet_service"],
            [element({"concat": [{"prefix": {"addr": "2001:db8::", "len": 126}}, 17, 53]}, 5)],
        ),
        (
            "egress_ab_icmpv6",
            ["ipv6_addr", "icmpv6_type", "icmpv6_code"],
            [element({"concat": [six, 128, 0]}, 0)],
        ),
    ]
    jumps: list[object] = [
        [element(one, guid="web-1"), {"jump": {"target": "egress_ab"}}] for one in (ADDRESS, six)
    ]
    maps = [
        {"map": named("containers", "ipv4_addr", jumps[:1])},
        {"map": named("containers6", "ipv6_addr", jumps[1:])},
        {
            "map": named(
                "ports6", ["inet_proto", "inet_service"], [[{"concat": [6, 61001]}, {"concat": [six, 80]}]]
            )
        },
    ]
    sets = [{"set": named(*one)} for one in elements]
    actual = parse(json.dumps({"nftables": [*maps, *sets]}))
    assert actual.ports_ipv6 == {61001: (six, 80)}
    (web,) = containers(actual)
    assert details(web, None).splitlines() == [
        "container  web-1",
        "address    10.255.0.2",
        "ipv6       fd00::2",
        "ports      none",
        "traffic    no link",
        "refused    7 packets",
        "",
        "ALLOWED                             CONNECTIONS  LOG",
        "icmpv6 fd00::2 type 128 code 0      0            -",
        "udp 2001:db8::-2001:db8::3 port 53  5            -",
    ]
