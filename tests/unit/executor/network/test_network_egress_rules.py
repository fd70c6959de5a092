"""Security group rules as disjoint intervals, compared with the evaluation of each rule."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.models.workload import ICMPInfo, PortRange, SecurityGroupRule
from executor.errors import NetworkError
from executor.network import egress
from executor.network.egress import Layer, Opening, RuleSet, compile_rules, destinations

pytestmark = pytest.mark.unit


def number(text: str) -> int:
    return int(IPv4Address(text))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("10.0.0.1",), [("10.0.0.1", "10.0.0.1")]),
        (("10.0.0.0/8",), [("10.0.0.0", "10.255.255.255")]),
        (("10.1.2.3/8",), [("10.0.0.0", "10.255.255.255")]),
        (("0.0.0.0/0",), [("0.0.0.0", "255.255.255.255")]),
        (("10.0.0.5-10.0.1.2",), [("10.0.0.5", "10.0.1.2")]),
        (("1.1.1.1,2.2.2.2", "3.3.3.0/24"), [(a, b) for a, b in (("1.1.1.1",) * 2, ("2.2.2.2",) * 2)]
         + [("3.3.3.0", "3.3.3.255")]),
        (("::ffff:10.0.0.1",), [("10.0.0.1", "10.0.0.1")]),
        (("2001:db8::/32", "2001:db8::1-2001:db8::2"), []),
    ],
)  # fmt: skip
def test_destinations(texts: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    rule = SecurityGroupRule(protocol="all", destinations=texts)
    assert destinations(rule).ipv4 == [(number(first), number(last)) for first, last in expected]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("2001:db8::1",), [("2001:db8::1", "2001:db8::1")]),
        (("2001:DB8::/32",), [("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")]),
        (("2001:db8::7/64",), [("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")]),
        (("::/0",), [("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]),
        (("fd00::5-fd00::1:2, fd00::9",), [("fd00::5", "fd00::1:2"), ("fd00::9", "fd00::9")]),
        (("10.0.0.0/8", "::ffff:10.0.0.1"), []),
    ],
)
def test_destinations_of_ipv6(texts: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    rule = SecurityGroupRule(protocol="all", destinations=texts)
    found = [(int(IPv6Address(first)), int(IPv6Address(last))) for first, last in expected]
    assert destinations(rule).ipv6 == found


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (SecurityGroupRule(protocol="all", destinations=("nowhere",)), "'nowhere'"),
        (SecurityGroupRule(protocol="all", destinations=("10.0.0.0/33",)), "33"),
        (SecurityGroupRule(protocol="sctp", destinations=("10.0.0.1",)), "sctp"),
        (SecurityGroupRule(protocol="icmp", destinations=("10.0.0.1",)), "icmp_info"),
        (SecurityGroupRule(protocol="all", destinations=("10.0.0.9-10.0.0.1",)), "ends before it begins"),
        (SecurityGroupRule(protocol="all", destinations=("10.0.0.1-fd00::1",)), "different versions of IP"),
        (SecurityGroupRule(protocol="all", destinations=("::ffff:10.0.0.0/104",)), "one of IPv4"),
        (SecurityGroupRule(protocol="all", destinations=("fe80::1%eth0",)), "address of one interface"),
        (SecurityGroupRule(protocol="all", destinations=("2001:db8::/129",)), "129"),
        (SecurityGroupRule(protocol="icmpv6", destinations=("fd00::1",)), "icmpv6 without icmp_info"),
        (
            SecurityGroupRule(
                protocol="tcp", destinations=("10.0.0.1",), port_range=PortRange(start=81, end=80)
            ),
            "no range of ports: 81 to 80",
        ),
    ],
)
def test_what_is_no_rule(rule: SecurityGroupRule, complaint: str) -> None:
    with pytest.raises(NetworkError, match=complaint):
        compile_rules([rule])


def test_nothing_let_through() -> None:
    assert compile_rules([]) is None
    assert compile_rules([SecurityGroupRule(protocol="icmpv6", icmp_info=ICMPInfo(type=-1, code=-1))]) is None


def test_the_later_rule_says_what_is_logged() -> None:
    net = ("10.0.0.0-10.0.0.9",)
    quiet = SecurityGroupRule(protocol="tcp", destinations=net, port_range=PortRange(start=1, end=100))
    loud = SecurityGroupRule(protocol="tcp", destinations=("10.0.0.5",), ports=(80,), log=True)
    ten, nine, five = number("10.0.0.0"), number("10.0.0.9"), number("10.0.0.5")
    assert compile_rules([loud, quiet]) == RuleSet(((Layer.TCP, (Opening((ten, nine), (1, 100)),)),))
    both = compile_rules([quiet, loud])
    assert both is not None
    assert both.of(Layer.TCP, log=True) == [Opening((five, five), (80, 80), log=True)]
    assert both.of(Layer.TCP, log=False) == [
        Opening((ten, five - 1), (1, 100)),
        Opening((five, five), (1, 79)),
        Opening((five, five), (81, 100)),
        Opening((five + 1, nine), (1, 100)),
    ]


def test_neighbouring_openings_become_one() -> None:
    rules = [
        SecurityGroupRule(protocol="udp", destinations=(f"10.0.{third}.0/24",), ports=(53, 54))
        for third in (2, 0, 1)
    ]
    expected = Opening((number("10.0.0.0"), number("10.0.2.255")), (53, 54))
    assert compile_rules(rules) == RuleSet(((Layer.UDP, (expected,)),))


@pytest.mark.parametrize(
    ("info", "ports"),
    [
        (ICMPInfo(type=8, code=0), [(0x800, 0x800)]),
        (ICMPInfo(type=3, code=-1), [(0x300, 0x3FF)]),
        (ICMPInfo(type=-1, code=-1), [(0, 0xFFFF)]),
        (ICMPInfo(type=-1, code=4), [(kind << 8 | 4, kind << 8 | 4) for kind in range(256)]),
    ],
)
def test_kinds_of_icmp(info: ICMPInfo, ports: list[tuple[int, int]]) -> None:
    made = compile_rules([SecurityGroupRule(protocol="icmp", destinations=("1.1.1.1",), icmp_info=info)])
    assert made is not None
    assert [opening.ports for opening in made.of(Layer.ICMP, log=False)] == ports


def test_the_same_content_has_the_same_name() -> None:
    one = SecurityGroupRule(protocol="all", destinations=("10.0.0.0/9",))
    two = SecurityGroupRule(protocol="all", destinations=("10.128.0.0/9",))
    whole = SecurityGroupRule(protocol="all", destinations=("10.0.0.0/8",), annotations=("anything",))
    names = {made.digest for rules in ([one, two], [two, one], [whole]) if (made := compile_rules(rules))}
    assert len(names) == 1


def test_rules_nobody_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "MAX_INTERVALS", 50)
    rules = [
        SecurityGroupRule(protocol="tcp", destinations=(f"10.0.0.{n}-10.0.1.{n}",), ports=(2 * n + 1,))
        for n in range(40)
    ]
    with pytest.raises(NetworkError, match="more than 50 intervals"):
        compile_rules(rules)


@pytest.mark.parametrize("count", [250, 500, 1000])
def test_ranges_inside_each_other_are_merged_first(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 ranges inside each other took a second of the event loop."""
    monkeypatch.setattr(egress, "MAX_OVERLAPS", 2 * count)
    rules = [
        SecurityGroupRule(protocol="tcp", destinations=(f"10.0.{n // 250}.{n % 250}-10.1.0.0",), ports=(80,))
        for n in range(count)
    ]
    expected = Opening((number("10.0.0.0"), number("10.1.0.0")), (80, 80))
    assert compile_rules(rules) == RuleSet(((Layer.TCP, (expected,)),))


@pytest.mark.parametrize("log", [True, False])
def test_rules_that_overlap_in_too_many_ways_are_refused(log: bool) -> None:
    """The work of a thousand rules is bounded, whatever they say: log of every second one, or of none."""
    rules = [
        SecurityGroupRule(
            protocol="tcp",
            destinations=(f"10.0.{n // 250}.{n % 250}-10.255.{n // 250}.{n % 250}",),
            port_range=PortRange(start=10, end=20) if log else PortRange(start=10 + n, end=20_000 - n),
            log=log and n % 2 == 0,
        )
        for n in range(1000 if log else 3000)
    ]
    with pytest.raises(NetworkError, match="too many of them overlap"):
        compile_rules(rules)


def test_rules_for_both_versions_of_ip() -> None:
    both = SecurityGroupRule(protocol="tcp", destinations=("10.0.0.1", "fd00::1"), ports=(80,))
    echo = ICMPInfo(type=128, code=0)
    ping = SecurityGroupRule(protocol="icmpv6", destinations=("10.0.0.1", "fd00::1"), icmp_info=echo)
    made = compile_rules([both, ping])
    assert made is not None
    one, other = number("10.0.0.1"), int(IPv6Address("fd00::1"))
    assert made == RuleSet(
        (
            (Layer.TCP, (Opening((one, one), (80, 80)),)),
            (Layer.TCP6, (Opening((other, other), (80, 80)),)),
            (Layer.ICMPV6, (Opening((other, other), (0x8000, 0x8000)),)),
        )
    )
    assert compile_rules([both, ping], ipv6=False) == RuleSet(made.openings[:1])
    assert compile_rules([ping], ipv6=False) is None


small = st.integers(0, 12)
boxes = st.builds(
    lambda a, b, start, p, q, protocol, log: SecurityGroupRule(
        protocol=protocol,
        destinations=(f"{start}{min(a, b):x}-{start}{max(a, b):x}",) if start == "::"
        else (f"{start}{min(a, b)}-{start}{max(a, b)}",),
        port_range=None if protocol == "all" else PortRange(start=min(p, q), end=max(p, q)),
        log=log,
    ),
    small, small, st.sampled_from(["0.0.0.", "::"]), small, small,
    st.sampled_from(["tcp", "udp", "all"]), st.booleans(),
)  # fmt: skip


def reached(rule: SecurityGroupRule, layer: Layer) -> Sequence[tuple[int, int]]:
    return destinations(rule).ipv6 if layer.value.endswith("6") else destinations(rule).ipv4


@given(st.lists(boxes, max_size=8))
def test_every_packet_fares_as_the_last_matching_rule_says(rules: list[SecurityGroupRule]) -> None:
    made = compile_rules(rules)
    for layer in (Layer.TCP, Layer.UDP, Layer.OTHER, Layer.TCP6, Layer.UDP6, Layer.OTHER6):
        openings = [one for log in (False, True) for one in (made.of(layer, log=log) if made else [])]
        for address in range(14):
            for port in range(14):
                expected = [
                    rule.log
                    for rule in rules
                    for first, last in reached(rule, layer)
                    if rule.protocol in ("all", layer.value.removesuffix("6"))
                    and first <= address <= last
                    and (rule.port_range is None or rule.port_range.start <= port <= rule.port_range.end)
                ][-1:]
                found = [
                    one.log
                    for one in openings
                    if one.addresses[0] <= address <= one.addresses[1]
                    and one.ports[0] <= port <= one.ports[1]
                ]
                assert found == expected
