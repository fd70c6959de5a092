"""Names and addresses derived from the configuration, and invalid configurations."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from executor.errors import NetworkError
from executor.network.addresses import AddressPool, NoFreeAddresses
from executor.network.config import NAME_LENGTH, NO_IPV6, NetworkConfig
from executor.network.firewall import accept_rules
from executor.network.ipv6 import host_has_ipv6, listening_to_routers
from executor.network.resolvers import (
    ENGINE_FALLBACK,
    RESOLV_CONF,
    SYSTEMD_RESOLV_CONF,
    choose,
    resolvers,
    resolvers_ipv6,
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
        {"subnet": "fd00::/24"},
        {"subnet_ipv6": "10.0.0.0/8"},
        {"subnet_ipv6": "fd00::/105"},
        {"subnet_ipv6": "fd00::1/64"},
        {"subnet_ipv6": "off"},
    ],
)
def test_what_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        NetworkConfig(**{"name": "n", "table": "t", **wrong})


def test_addresses_of_ipv6_follow_from_those_of_ipv4() -> None:
    config = NetworkConfig(name="n", table="t", subnet="10.1.0.0/16", subnet_ipv6="2001:db8:0:7::/64")
    assert config.gateway_ipv6 == IPv6Address("2001:db8:0:7::1")
    assert config.ipv6_of(IPv4Address("10.1.2.3")) == IPv6Address("2001:db8:0:7::203")
    assert config.ipv4_of(IPv6Address("2001:db8:0:7::203")) == IPv4Address("10.1.2.3")
    assert config.ipv4_of(IPv4Address("10.1.2.3")) == IPv4Address("10.1.2.3")
    assert config.ipv4_of(IPv6Address("2001:db8:0:7::1:0")) is None
    assert config.ipv4_of(IPv6Address("2001:db8:0:6::203")) is None


def test_a_subnet_of_ipv6_is_made_up_the_same_in_every_life() -> None:
    config = NetworkConfig(name="n", table="t")
    network = config.network_ipv6
    assert network is not None
    assert network == NetworkConfig(name="n", table="another", mtu=1280).network_ipv6
    assert (network.prefixlen, network.subnet_of(IPv6Network("fd00::/8"))) == (64, True)
    others = (replace(config, name="m"), replace(config, subnet="10.1.0.0/16"))
    assert network not in [other.network_ipv6 for other in others]


@pytest.mark.parametrize("without", [{"subnet_ipv6": NO_IPV6}, {"mtu": 1279}])
def test_without_ipv6(without: dict[str, Any]) -> None:
    config = NetworkConfig(name="n", table="t", denied_networks=("10.0.0.0/8",), **without)
    assert (config.network_ipv6, config.gateway_ipv6) == (None, None)
    assert config.ipv6_of(IPv4Address("10.255.0.2")) is None
    assert config.ipv4_of(IPv6Address("::1")) is None
    assert config.denied == (IPv4Network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("denied", "expected"),
    [
        ((), ()),
        (("10.0.0.0/8",), ("10.0.0.0/8", "::/0")),
        (("0.0.0.0/0", "fc00::/7"), ("0.0.0.0/0", "fc00::/7")),
    ],
)
def test_who_denies_networks_and_names_none_of_ipv6_denies_all_of_it(
    denied: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    config = NetworkConfig(name="n", table="t", denied_networks=denied)
    assert config.denied == tuple(map(ip_network, expected))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"if_inet6": "", "conf/all/disable_ipv6": "0\n"}, True),
        ({"if_inet6": "", "conf/all/disable_ipv6": "1\n"}, False),
        ({"if_inet6": ""}, False),
        ({"conf/all/disable_ipv6": "0\n"}, False),
    ],
)
def test_hosts_with_and_without_ipv6(files: dict[str, str], expected: bool, tmp_path: Path) -> None:
    write(tmp_path, files)
    assert host_has_ipv6(tmp_path / "if_inet6", tmp_path / "conf") is expected


def test_interfaces_that_go_on_listening_to_routers(tmp_path: Path) -> None:
    """A host that begins to forward would forget the routers it has learned of."""
    accepts = {"all": "1", "default": "1", "eth0": "1", "eth1": "0", "eth2": "2", "wlan0": "1"}
    settings = {f"{name}/accept_ra": f"{value}\n" for name, value in accepts.items()}
    write(tmp_path, settings | {"all/forwarding": "0\n"})
    assert listening_to_routers(tmp_path) == ["eth0", "wlan0"]
    write(tmp_path, {"all/forwarding": "1\n"})
    assert listening_to_routers(tmp_path) == []


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


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
    given = ("192.0.2.53", "2001:db8::53", "fe80::1%eth0")
    assert resolvers(given) == (IPv4Address("192.0.2.53"),)
    assert resolvers_ipv6(given) == (IPv6Address("2001:db8::53"),)
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
