"""The record of what a network has on the host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from executor.network.config import NetworkConfig
from executor.network.footprint import Footprint, decode, encode

pytestmark = pytest.mark.unit

CONFIG = NetworkConfig(name="cell", table="cell", subnet="10.1.0.0/16", port_start=2000, port_count=100)


@pytest.mark.parametrize(
    "changes", [{}, {"subnet_ipv6": "none"}, {"subnet_ipv6": "fd01::/64"}, {"mtu": 1200}, {"name": "x" * 15}]
)
def test_a_record_leads_to_what_is_on_the_host(changes: dict[str, str]) -> None:
    config = replace(CONFIG, **changes)
    (found,) = decode(encode([Footprint.of(config)]))
    again = found.config()
    for names in ("name", "table", "network", "network_ipv6", "port_prefix", "gateway", "gateway_ipv6"):
        assert getattr(again, names) == getattr(config, names)


def test_a_network_is_recorded_once() -> None:
    one, other = Footprint.of(CONFIG), Footprint.of(replace(CONFIG, table="other"))
    assert decode(encode([one, other, one])) == (one, other)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[1]", b'[{"name": "x"}]', encode([replace(Footprint.of(CONFIG), name="")])]
)
def test_what_is_no_record_leads_to_nothing(data: bytes) -> None:
    assert decode(data) == ()
