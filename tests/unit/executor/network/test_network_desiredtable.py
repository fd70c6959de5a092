"""Changes of the packet table: the kernel's content after any history."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bbs.models.workload import SecurityGroupRule
from executor.network.desiredtable import DesiredTable, Member, everything
from executor.network.egress import RuleSet, compile_rules
from executor.network.rules import Target, Wiring

pytestmark = pytest.mark.unit

WIRING = Wiring(
    table="t",
    ports="cf-",
    subnet=IPv4Network("10.0.0.0/24"),
    gateway=IPv4Address("10.0.0.1"),
    subnet_ipv6=IPv6Network("fd00::/64"),
    gateway_ipv6=IPv6Address("fd00::1"),
)


def rules(port: int) -> RuleSet | None:
    return compile_rules(
        [SecurityGroupRule(protocol="tcp", destinations=("192.0.2.1",), ports=(port,))] if port else []
    )


def member(last: int, *host_ports: int, opened: int = 0, ipv6: bool = False) -> Member:
    address = IPv4Address(f"10.0.0.{last}")
    targets = {port: Target(address, 8080) for port in host_ports}
    return Member(address, targets, rules(opened), IPv6Address(f"fd00::{last:x}") if ipv6 else None)


def test_what_ipv6_adds_to_a_container() -> None:
    desired = DesiredTable("t")
    desired.put("a", member(2, 61001))
    added = desired.put("a", member(2, 61001, ipv6=True))
    assert 'add element inet t refused6 { fd00::2 comment "a" }' in added
    assert 'add element inet t ports6 { tcp . 61001 comment "a" : fd00::2 . 8080 }' in added
    assert desired.remove("a") == [
        "delete element inet t refused { 10.0.0.2 }",
        "delete element inet t refused6 { fd00::2 }",
        "delete element inet t ports { tcp . 61001 }",
        "delete element inet t ports6 { tcp . 61001 }",
    ]


class Kernel:
    """As much of nftables as tells whether statements fit the state: names, elements, references."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.elements: dict[str, set[str]] = {}

    def run(self, statements: list[str]) -> None:
        for line in statements:
            verb, kind, *rest = line.split(" ", 2)
            words = rest[0].split()
            if kind == "table":
                if verb == "delete":
                    self.names, self.elements = set(), {}
            elif kind in ("chain", "set", "map") and verb == "add":
                assert words[2] not in self.names
                self.names.add(words[2])
                self.elements.setdefault(words[2], set())
            elif verb == "delete" and kind in ("chain", "set"):
                for name in ("containers", "containers6"):
                    assert not any(words[2] in text for text in self.elements.get(name, ()))
                self.names.remove(words[2])
                del self.elements[words[2]]
            elif kind == "element":
                self._elements(verb, words[2], rest[0])
            elif kind == "rule":
                for name in re.findall(r"@(\w+)", line):
                    assert name in self.names

    def _elements(self, verb: str, name: str, text: str) -> None:
        assert name in self.names
        for element in text.partition("{ ")[2].removesuffix(" }").split(", "):
            jump = re.search(r"jump (\w+)", element)
            assert jump is None or jump[1] in self.names
            key = element.partition(" comment")[0]
            present = {one.partition(" comment")[0] for one in self.elements[name]}
            if verb == "add":
                assert key not in present
                self.elements[name].add(element)
            else:
                assert key in present
                self.elements[name] = {
                    one for one in self.elements[name] if one.partition(" comment")[0] != key
                }


def test_a_change_of_rules_leaves_the_rest_alone() -> None:
    desired = DesiredTable("t")
    desired.put("a", member(2, 61001, opened=80))
    desired.put("b", member(3, opened=80))
    old, new = rules(80), rules(81)
    assert old is not None
    assert new is not None
    changed = desired.put("a", member(2, 61001, opened=81))
    assert f"add chain inet t egress_{new.digest}" in changed
    assert f"delete chain inet t egress_{old.digest}" not in changed
    assert f"delete chain inet t egress_{old.digest}" in desired.remove("b")
    assert desired.put("a", member(2, 61001, opened=81)) == []
    assert desired.remove("nobody") == []


class History(RuleBasedStateMachine):
    """What changes lead to is what the whole table would be."""

    def __init__(self) -> None:
        super().__init__()
        self.desired = DesiredTable("t")
        self.kernel = Kernel()
        self.kernel.run(everything(WIRING, self.desired.members))

    @rule(
        who=st.integers(2, 5),
        move=st.booleans(),
        ports=st.integers(0, 2),
        opened=st.sampled_from([0, 80, 81]),
        ipv6=st.booleans(),
    )
    def put(self, who: int, move: bool, ports: int, opened: int, ipv6: bool) -> None:
        host_ports = [61000 + 10 * who + number for number in range(ports)]
        self.kernel.run(
            self.desired.put(
                f"g{who}", member(who + (100 if move else 0), *host_ports, opened=opened, ipv6=ipv6)
            )
        )

    @rule(who=st.integers(2, 5))
    def remove(self, who: int) -> None:
        self.kernel.run(self.desired.remove(f"g{who}"))

    @invariant()
    def as_made_anew(self) -> None:
        anew = Kernel()
        anew.run(everything(WIRING, self.desired.members))
        assert (self.kernel.names, self.kernel.elements) == (anew.names, anew.elements)


TestHistory = History.TestCase
