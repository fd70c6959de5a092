"""Names and addresses that follow from the configuration, and what cannot be configured."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from executor.errors import NetworkError
from executor.network.addresses import AddressPool, NoFreeAddresses
from executor.network.config import NAME_LENGTH, NetworkConfig
from executor.network.firewall import accept_rules
from executor.network.resolvers import (
    ENGINE_FALLBACK,
    RESOLV_CONF,
    SYSTEMD_RESOLV_CONF,
    choose,
    resolvers,
)

pytestmark = pytest.mark.unit


def test_names_and_addresses() -> None:
    config = NetworkConfig(name="diego-cell", table="diego_cell", subnet="10.255.0.0/16")
    assert config.gateway == IPv4Address("10.255.0.1")
    assert config.port_prefix.endswith("-")
    assert config.port_name(IPv4Address("10.255.1.2")) == f"{config.port_prefix}102"
    assert 1 <= config.log_group <= 65535
    other = NetworkConfig(name="diego-cell-2", table="diego_cell_2")
    assert other.port_prefix != config.port_prefix


def test_names_of_links_fit_the_kernel() -> None:
    config = NetworkConfig(name="x", table="x", subnet="10.0.0.0/8")
    assert len(config.port_name(IPv4Address("10.255.255.254"))) <= NAME_LENGTH


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a-name-that-is-too-long"},
        {"name": "a/b"},
        {"table": "no table"},
        {"subnet": "10.0.0.1/24"},
        {"subnet": "10.0.0.0/30"},
        {"subnet": "everything"},
        {"denied_networks": ("10.0.0.0/33",)},
        {"allowed_networks": ("here",)},
        {"bandwidth_in": -1},
    ],
)
def test_what_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        NetworkConfig(**{"name": "n", "table": "t", **wrong})


def test_rules_for_the_engines_firewall() -> None:
    assert accept_rules("cf123456-") == (
        ("-i", "cf123456-+", "-j", "ACCEPT"),
        ("-o", "cf123456-+", "-j", "ACCEPT"),
    )


@pytest.mark.parametrize(
    ("host", "systemd", "expected"),
    [
        ("nameserver 192.0.2.1\n# nameserver 192.0.2.2\nsearch x\n", "", ["192.0.2.1"]),
        ("nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.7\n", ["192.0.2.7"]),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", "", ["192.0.2.1"]),
        ("nameserver nonsense\nnameserver\n", "", ENGINE_FALLBACK),
        ("", "nameserver ::1\n", ENGINE_FALLBACK),
    ],
)
def test_name_servers_of_the_host(host: str, systemd: str, expected: list[str]) -> None:
    files = {RESOLV_CONF: host, SYSTEMD_RESOLV_CONF: systemd}

    def read(path: Path) -> str:
        return files[path]

    assert list(choose(read)) == list(expected)


def test_configured_name_servers() -> None:
    assert resolvers(("192.0.2.53", "2001:db8::53")) == (IPv4Address("192.0.2.53"),)
    with pytest.raises(NetworkError, match="name server: 'ns1'"):
        resolvers(("ns1",))


def test_an_address_rests_until_the_others_had_their_turn() -> None:
    pool = AddressPool(IPv4Network("10.0.0.0/29"))
    assert pool.lease("a") == pool.lease("a") == IPv4Address("10.0.0.2")
    assert pool.release("a") == IPv4Address("10.0.0.2")
    assert pool.release("a") is None
    assert [str(pool.lease(guid)) for guid in "bcde"] == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    assert pool.lease("f") == IPv4Address("10.0.0.2")
    with pytest.raises(NoFreeAddresses, match=r"no free address in 10\.0\.0\.0/29 for g"):
        pool.lease("g")


def test_claimed_addresses() -> None:
    pool = AddressPool(IPv4Network("10.0.0.0/29"))
    pool.claim("a", IPv4Address("10.0.0.2"))
    pool.claim("a", IPv4Address("10.0.0.2"))
    assert pool.lease("b") == IPv4Address("10.0.0.3")
    assert (pool.of("a"), pool.owner(IPv4Address("10.0.0.2"))) == (IPv4Address("10.0.0.2"), "a")
    with pytest.raises(NetworkError, match=r"10\.0\.0\.3 wanted for a belongs to b"):
        pool.claim("a", IPv4Address("10.0.0.3"))
    with pytest.raises(NetworkError, match=r"192\.0\.2\.1 wanted for c is not in"):
        pool.claim("c", IPv4Address("192.0.2.1"))
    pool.claim("a", IPv4Address("10.0.0.4"))
    assert pool.owner(IPv4Address("10.0.0.2")) is None


class AddressHistory(RuleBasedStateMachine):
    """An address has one owner at a time, and none is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = AddressPool(IPv4Network("10.0.0.0/28"))
        self.owned: dict[str, IPv4Address] = {}

    @rule(guid=st.sampled_from("abcdef"))
    def lease(self, guid: str) -> None:
        address = self.pool.lease(guid)
        assert self.owned.setdefault(guid, address) == address

    @rule(guid=st.sampled_from("abcdef"), last=st.integers(2, 14))
    def claim(self, guid: str, last: int) -> None:
        address = IPv4Address(f"10.0.0.{last}")
        if address in [owned for owner, owned in self.owned.items() if owner != guid]:
            with pytest.raises(NetworkError):
                self.pool.claim(guid, address)
            return
        self.pool.claim(guid, address)
        self.owned[guid] = address

    @rule(guid=st.sampled_from("abcdef"))
    def release(self, guid: str) -> None:
        assert self.pool.release(guid) == self.owned.pop(guid, None)

    @invariant()
    def one_owner_each(self) -> None:
        assert len(set(self.owned.values())) == len(self.owned)
        for guid, address in self.owned.items():
            assert (self.pool.of(guid), self.pool.owner(address)) == (address, guid)

    def teardown(self) -> None:
        for number in range(13 - len(self.owned)):
            self.pool.lease(f"another-{number}")


TestAddresses = AddressHistory.TestCase
