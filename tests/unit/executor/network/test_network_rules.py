"""Packet rules as text, transactions, and the maps without a kernel."""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import SimpleNamespace

import psutil
import pytest

from bbs.models.workload import ICMPInfo, SecurityGroupRule
from executor.errors import NetworkError
from executor.network.address import detect_external_ip
from executor.network.egress import RuleSet, compile_rules
from executor.network.egressrules import add_rule_set, comment, delete_rule_set, set_elements
from executor.network.libnftables import NftContext
from executor.network.nft import Nft
from executor.network.rules import (
    Target,
    Wiring,
    add_targets,
    delete_targets,
    empty_table,
    remove_table,
)

pytestmark = pytest.mark.unit

ONE = Target(IPv4Address("10.0.0.2"), 8080)
TWO = Target(IPv4Address("10.0.0.2"), 2222)
WIRING = Wiring(table="t", ports="cf-", subnet=IPv4Network("10.0.0.0/24"), gateway=IPv4Address("10.0.0.1"))
WEB = SecurityGroupRule(protocol="tcp", destinations=("192.0.2.0/24",), ports=(80,))


def test_elements_of_the_map() -> None:
    assert add_targets("t", {}, "g") == []
    assert delete_targets("t", ()) == []
    assert add_targets("t", {61002: TWO, 61001: ONE}, "g") == [
        'add element inet t ports { tcp . 61001 comment "g" : 10.0.0.2 . 8080, '
        'tcp . 61002 comment "g" : 10.0.0.2 . 2222 }'
    ]
    assert delete_targets("t", [61002, 61001]) == ["delete element inet t ports { tcp . 61001, tcp . 61002 }"]


def test_a_comment_is_what_the_program_takes() -> None:
    assert comment('a "b"; { }-1_2.3') == 'comment "ab-1_2.3"'
    assert comment("x" * 300) == f'comment "{"x" * 120}"'


def test_a_whole_table_replaces_the_one_before() -> None:
    statements = empty_table(WIRING)
    assert statements[:2] == remove_table("t") == ["add table inet t", "delete table inet t"]
    assert 'add rule inet t postrouting oifname "cf-*" ip saddr 127.0.0.0/8 snat ip to 10.0.0.1' in statements
    assert 'add rule inet t guard iifname "cf-*" ip daddr 127.0.0.0/8 drop' in statements


def egress_of(wiring: Wiring) -> list[str]:
    start = "add rule inet t egress "
    return [line.removeprefix(start) for line in empty_table(wiring) if line.startswith(start)]


def test_the_host_and_metadata_are_refused_even_where_no_network_is_denied() -> None:
    assert egress_of(WIRING) == [
        "ct state established,related accept",
        "fib daddr type { broadcast, multicast } goto refuse",
        "ip daddr 10.0.0.0/24 ip daddr != 10.0.0.1 goto refuse",
        "ip saddr vmap @containers",
        "fib daddr type local goto refuse",
        "ip daddr 169.254.169.254 goto refuse",
    ]


def test_exceptions_come_before_denied_networks() -> None:
    wiring = replace(
        WIRING,
        resolvers=(IPv4Address("10.0.0.53"),),
        denied=(IPv4Network("10.0.0.0/8"), IPv4Network("10.1.0.0/16")),
        allowed=(IPv4Network("10.2.0.0/16"),),
    )
    assert egress_of(wiring)[4:] == [
        "meta l4proto { tcp, udp } th dport 53 ip daddr { 10.0.0.53 } accept",
        "ip daddr { 10.2.0.0/16 } accept",
        "fib daddr type local goto refuse",
        "ip daddr 169.254.169.254 goto refuse",
        "ip daddr { 10.0.0.0/8 } goto refuse",
    ]


def test_connections_are_limited_before_a_containers_own_rules() -> None:
    """6,000 connections of one container had no bound."""
    limited = replace(WIRING, connection_limit=10, log_group=7)
    assert egress_of(limited)[3:5] == [
        "add @connections { ip saddr ct count over 10 } goto crowded",
        "ip saddr vmap @containers",
    ]
    assert (
        "add rule inet t crowded update @crowded_at { ip saddr limit rate 1/minute burst 1 packets } "
        'log prefix "connection limit" group 7'
    ) in empty_table(limited)
    assert "add rule inet t crowded reject" in empty_table(limited)


LOGGED_RULE = "add rule inet t logged "


def test_messages_about_what_is_let_through_have_a_rate() -> None:
    """A container that makes connections all the time filled the log."""
    statements = empty_table(replace(WIRING, log_group=7))
    assert [line for line in statements if line.startswith(("add chain inet t logged", LOGGED_RULE))] == [
        "add chain inet t logged",
        "add rule inet t logged update @logged_at { ip saddr limit rate 100/second burst 200 packets } "
        "log group 7",
        "add rule inet t logged accept",
    ]


def test_what_ipv6_adds() -> None:
    both = replace(
        WIRING,
        subnet_ipv6=IPv6Network("fd00::/64"),
        gateway_ipv6=IPv6Address("fd00::1"),
        resolvers=(IPv6Address("2001:db8::53"),),
        denied=(IPv4Network("10.0.0.0/8"), IPv6Network("fc00::/7"), IPv6Network("fc00::/8")),
        allowed=(IPv6Network("fd77::/16"),),
    )
    assert egress_of(both) == [
        "ct state established,related accept",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 daddr { fe80::/10, ff02::/16 } accept",
        "ip6 daddr ff00::/8 drop",
        "ip6 daddr fe80::/10 goto refuse",
        "fib daddr type { broadcast, multicast } goto refuse",
        "ip daddr 10.0.0.0/24 ip daddr != 10.0.0.1 goto refuse",
        "ip6 daddr fd00::/64 ip6 daddr != fd00::1 goto refuse",
        "ip saddr vmap @containers",
        "ip6 saddr vmap @containers6",
        "meta l4proto { tcp, udp } th dport 53 ip6 daddr { 2001:db8::53 } accept",
        "ip6 daddr { fd77::/16 } accept",
        "fib daddr type local goto refuse",
        "ip daddr 169.254.169.254 goto refuse",
        "ip6 daddr fd00:ec2::254 goto refuse",
        "ip daddr { 10.0.0.0/8 } goto refuse",
        "ip6 daddr { fc00::/7 } goto refuse",
    ]
    dropped = 'add rule inet t guard iifname "cf-*" meta nfproto ipv6 drop'
    assert dropped in empty_table(WIRING)
    assert dropped not in empty_table(both)
    assert not [line for line in empty_table(WIRING) if "ip6" in line or "ipv6_addr" in line]


def compiled(*rules: SecurityGroupRule) -> RuleSet:
    made = compile_rules(rules)
    assert made is not None
    return made


def test_a_rule_set_is_a_chain_with_a_set_per_kind() -> None:
    rules = compiled(
        replace(WEB, log=True),
        SecurityGroupRule(protocol="udp", destinations=("192.0.2.1",), ports=(53, 123)),
        SecurityGroupRule(protocol="icmp", destinations=("192.0.2.1",), icmp_info=ICMPInfo(type=8, code=0)),
    )
    name = f"egress_{rules.digest}"
    assert add_rule_set("t", rules) == [
        f"add chain inet t {name}",
        f"add set inet t {name}_ports "
        "{ type ipv4_addr . inet_proto . inet_service; flags interval; counter; }",
        f"add element inet t {name}_ports {{ 192.0.2.1 . udp . 53, 192.0.2.1 . udp . 123 }}",
        f"add rule inet t {name} ip daddr . meta l4proto . th dport @{name}_ports accept",
        f"add set inet t {name}_icmp {{ type ipv4_addr . icmp_type . icmp_code; flags interval; counter; }}",
        f"add element inet t {name}_icmp {{ 192.0.2.1 . 8 . 0 }}",
        f"add rule inet t {name} ip daddr . icmp type . icmp code @{name}_icmp accept",
        f"add set inet t {name}_ports_log "
        "{ type ipv4_addr . inet_proto . inet_service; flags interval; counter; }",
        f"add element inet t {name}_ports_log {{ 192.0.2.0-192.0.2.255 . tcp . 80 }}",
        f"add rule inet t {name} ip daddr . meta l4proto . th dport @{name}_ports_log goto logged",
    ]
    assert delete_rule_set("t", rules)[:2] == [f"flush chain inet t {name}", f"delete chain inet t {name}"]


def test_rules_for_ipv6_have_sets_of_their_own() -> None:
    rules = compiled(
        SecurityGroupRule(protocol="tcp", destinations=("192.0.2.1", "fd01::/120"), ports=(80,)),
        SecurityGroupRule(
            protocol="icmpv6", destinations=("fd00::1",), icmp_info=ICMPInfo(type=128, code=-1)
        ),
        SecurityGroupRule(protocol="all", destinations=("fd00::2",), log=True),
    )
    name = f"egress_{rules.digest}"
    assert add_rule_set("t", rules)[4:10] == [
        f"add set inet t {name}_ports6 "
        "{ type ipv6_addr . inet_proto . inet_service; flags interval; counter; }",
        f"add element inet t {name}_ports6 {{ fd01::-fd01::ff . tcp . 80 }}",
        f"add rule inet t {name} ip6 daddr . meta l4proto . th dport @{name}_ports6 accept",
        f"add set inet t {name}_icmpv6 "
        "{ type ipv6_addr . icmpv6_type . icmpv6_code; flags interval; counter; }",
        f"add element inet t {name}_icmpv6 {{ fd00::1 . 128 . 0-255 }}",
        f"add rule inet t {name} ip6 daddr . icmpv6 type . icmpv6 code @{name}_icmpv6 accept",
    ]
    assert list(set_elements(rules))[3:] == [f"{name}_{kind}_log" for kind in ("ports6", "icmpv6", "other6")]
    assert set_elements(rules)[f"{name}_other6_log"] == ["fd00::2"]


def test_kinds_of_icmp_between_two_others() -> None:
    icmp = ICMPInfo(type=-1, code=-1)
    rules = compiled(
        SecurityGroupRule(protocol="icmp", destinations=("192.0.2.1",), icmp_info=icmp),
        SecurityGroupRule(
            protocol="icmp", destinations=("192.0.2.1",), icmp_info=ICMPInfo(type=8, code=1), log=True
        ),
    )
    assert set_elements(rules) == {
        f"egress_{rules.digest}_icmp": [
            "192.0.2.1 . 0-7 . 0-255",
            "192.0.2.1 . 8 . 0",
            "192.0.2.1 . 8 . 2-255",
            "192.0.2.1 . 9-255 . 0-255",
        ],
        f"egress_{rules.digest}_icmp_log": ["192.0.2.1 . 8 . 1"],
    }


class Held:
    """Stands for the kernel: transactions wait to be let go and are kept; what says "bad" is refused."""

    def __init__(self) -> None:
        self.transactions: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.open = 0

    def connect(self) -> Held:
        self.open += 1
        return self

    def run(self, text: str) -> tuple[str | None, str]:
        self.begun.set()
        assert self.go.wait(10)
        self.transactions.append(text)
        return (None, "line 1: bad") if "bad" in text else ("", "")

    def close(self) -> None:
        self.open -= 1


async def hold_first(nft: Nft, held: Held, *changes: str) -> list[asyncio.Task[None]]:
    """Start the first change, and the others while it is under way."""
    tasks = [asyncio.create_task(nft.apply([changes[0]]))]
    assert await asyncio.to_thread(held.begun.wait, 10)
    tasks += [asyncio.create_task(nft.apply([change])) for change in changes[1:]]
    for _ in changes:
        await asyncio.sleep(0)
    held.go.set()
    return tasks


async def test_changes_that_wait_go_together() -> None:
    held = Held()
    tasks = await hold_first(Nft(held.connect), held, "a", "b", "c")
    await asyncio.gather(*tasks)
    assert held.transactions == ["a\n", "b\nc\n"]


async def test_a_bad_change_fails_alone() -> None:
    held = Held()
    tasks = await hold_first(Nft(held.connect), held, "a", "bad", "c")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), NetworkError, type(None)]
    assert str(results[1]) == "packet rules refused: line 1: bad"
    assert held.transactions == ["a\n", "bad\nc\n", "bad\n", "c\n"]


async def test_a_cancelled_change_that_waits_is_not_applied() -> None:
    held = Held()
    nft = Nft(held.connect)
    first = asyncio.create_task(nft.apply(["a"]))
    assert await asyncio.to_thread(held.begun.wait, 10)
    second, third = asyncio.create_task(nft.apply(["b"])), asyncio.create_task(nft.apply(["c"]))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    held.go.set()
    await asyncio.wait([first, second, third])
    assert (first.cancelled(), second.cancelled(), third.exception()) == (True, True, None)
    assert held.transactions == ["a\n", "c\n"]


async def test_one_connection_serves_all_changes_until_it_is_closed() -> None:
    held = Held()
    held.go.set()
    nft = Nft(held.connect)
    for _ in range(2):
        await nft.apply(["a"])
        await nft.apply(["b"])
        assert held.open == 1
        await nft.close()
        await nft.close()
        assert held.open == 0


async def test_a_missing_library_is_named() -> None:
    with pytest.raises(NetworkError, match="install the Debian package nftables"):
        await Nft(lambda: NftContext("/no/such/nft")).apply(["a"])


def test_the_external_address_is_one_of_the_host() -> None:
    mine = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    assert detect_external_ip() in mine | {"127.0.0.1"}


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [(["127.0.0.1"], "127.0.0.1"), (["127.0.0.1", "10.1.2.3"], "10.1.2.3"), ([], "127.0.0.1")],
)
def test_without_a_route_the_first_address_serves(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], expected: str
) -> None:
    class NoRoute(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError("network is unreachable")

    found = {
        f"eth{number}": [SimpleNamespace(family=socket.AF_INET, address=address)]
        for number, address in enumerate(addresses)
    }
    monkeypatch.setattr(socket, "socket", NoRoute)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    assert detect_external_ip() == expected
