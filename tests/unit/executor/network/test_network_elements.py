"""Netlink messages for statements about elements."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from bbs.models.workload import SecurityGroupRule
from executor.network.egress import compile_rules
from executor.network.egressrules import add_members, chain_name, delete_jump, delete_member
from executor.network.elements import Element, ElementStatement, port_key, target_value
from executor.network.rules import Target, add_targets, delete_targets

pytestmark = pytest.mark.unit

FOUR, SIX = IPv4Address("10.0.0.2"), IPv6Address("fd00::2")
RULES = compile_rules([SecurityGroupRule(protocol="all", destinations=("192.0.2.1",))])
HTTP, SSH = b"\x06\0\0\0\xee\x49\0\0", b"\x06\0\0\0\xee\x4a\0\0"


def test_keys_and_values_have_parts_of_four_bytes() -> None:
    assert (port_key(61001), port_key(61002)) == (HTTP, SSH)
    assert target_value(FOUR.packed, 8080) == b"\x0a\0\0\x02\x1f\x90\0\0"
    assert target_value(SIX.packed, 8080) == SIX.packed + b"\x1f\x90\0\0"


def told(statements: list[str]) -> list[tuple[str, str, bool, tuple[Element, ...]]]:
    found = [one for one in statements if isinstance(one, ElementStatement)]
    assert len(found) == len(statements)
    return [(one.table, one.name, one.add, one.elements) for one in found]


def test_host_ports() -> None:
    targets = {61002: Target(FOUR, 22), 61001: Target(FOUR, 8080)}
    web, shell = (target_value(FOUR.packed, port) for port in (8080, 22))
    assert told(add_targets("t", targets, "g")) == [
        ("t", "ports", True, (Element(HTTP, web, comment="g"), Element(SSH, shell, comment="g")))
    ]
    assert told(add_targets("t", {61001: Target(SIX, 8080)}, "g")) == [
        ("t", "ports6", True, (Element(HTTP, target_value(SIX.packed, 8080), comment="g"),))
    ]
    assert told(delete_targets("t", [61002, 61001], 6)) == [
        ("t", "ports6", False, (Element(HTTP), Element(SSH)))
    ]


def test_members() -> None:
    assert RULES is not None
    name, odd = chain_name(RULES), 'g "1"'
    assert told(add_members("t", {FOUR: (odd, RULES), SIX: (odd, None)})) == [
        ("t", "refused", True, (Element(FOUR.packed, comment="g1"),)),
        ("t", "containers", True, (Element(FOUR.packed, chain=name, comment="g1"),)),
        ("t", "refused6", True, (Element(SIX.packed, comment="g1"),)),
    ]
    assert told([delete_jump("t", SIX), delete_member("t", FOUR)]) == [
        ("t", "containers6", False, (Element(SIX.packed),)),
        ("t", "refused", False, (Element(FOUR.packed),)),
    ]
