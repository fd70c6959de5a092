"""Every key of the SSH proxy's configuration: values and default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sshd.proxy.config import InvalidConfig, ProxyConfig, load, parse

pytestmark = pytest.mark.unit

NEEDED = {"log_level": "info"}
KEYS: dict[str, tuple[Any, Any]] = {
    "address": ("", "0.0.0.0:2222"),
    "health_check_address": ("", "0.0.0.0:2223"),
    "metrics_address": ("", "127.0.0.1:2224"),
    "disable_health_check_server": (False, True),
    "host_key": ("", "PEM"),
    "bbs_address": ("", "https://bbs.example:8889"),
    "bbs_ca_cert": ("", "/ca.crt"),
    "bbs_client_cert": ("", "/client.crt"),
    "bbs_client_key": ("", "/client.key"),
    "enable_diego_auth": (False, True),
    "diego_credentials": ("", "user:password"),
    "enable_cf_auth": (False, True),
    "cc_api_url": ("", "https://cc.example:9024"),
    "cc_api_ca_cert": ("", "/cc.crt"),
    "uaa_token_url": ("", "https://uaa.example/oauth/token"),
    "uaa_username": ("", "ssh-proxy"),
    "uaa_password": ("", "secret"),
    "uaa_ca_cert": ("", "/uaa.crt"),
    "skip_cert_verify": (False, True),
    "allowed_ciphers": ("", "aes128-ctr"),
    "allowed_macs": ("", "hmac-sha2-256"),
    "allowed_key_exchanges": ("", "curve25519-sha256"),
    "connect_to_instance_address": (False, True),
    "backends_tls_enabled": (False, True),
    "backends_tls_required": (False, True),
    "backends_tls_ca_certificates": ("", "/backends.crt"),
    "backends_tls_client_certificate": ("", "/proxy.crt"),
    "backends_tls_client_private_key": ("", "/proxy.key"),
    "loggregator": ({}, {"loggregator_use_v2_api": True, "loggregator_api_port": 3458}),
}
"""Key -> what it is without, what it may be."""
IGNORED = ("bbs_client_session_cache_size", "bbs_max_idle_conns_per_host", "debug_address")
TIMES = ("communication_timeout", "idle_connection_timeout")
NUMBERS = {"max_connections": 1000, "max_connections_per_user": 32, "max_connections_per_instance": 32}


@pytest.mark.parametrize(("key", "default", "value"), [(key, *pair) for key, pair in KEYS.items()])
def test_a_key(key: str, default: Any, value: Any) -> None:
    assert getattr(parse(NEEDED), key) == default
    assert getattr(parse({**NEEDED, key: None}), key) == default
    assert getattr(parse({**NEEDED, key: value}), key) == value
    with pytest.raises(InvalidConfig, match=f"^{key}: .* is of the wrong kind$"):
        parse({**NEEDED, key: 1})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("", 0), ("0", 0), ("300ms", 0.3), ("5m0s", 300), ("1h", 3600), (1_000_000_000, 1)],
)
@pytest.mark.parametrize("key", TIMES)
def test_a_time(key: str, value: Any, seconds: float) -> None:
    assert getattr(parse({**NEEDED, key: value}), key) == seconds


@pytest.mark.parametrize(
    "value", ["5", "soon", "5 m", [], {}, True, float("nan"), float("inf"), -float("inf"), 2**64]
)
@pytest.mark.parametrize("key", TIMES)
def test_a_time_that_is_none(key: str, value: Any) -> None:
    with pytest.raises(InvalidConfig, match=f"^{key}: "):
        parse({**NEEDED, key: value})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_a_file_that_is_not_json(tmp_path: Path, text: str) -> None:
    """A file nested too deeply is refused like any other damaged file."""
    (tmp_path / "proxy.json").write_text(text)
    with pytest.raises(InvalidConfig, match=r"proxy\.json: "):
        load(tmp_path / "proxy.json")


def test_the_time_to_log_in_has_a_default() -> None:
    assert parse(NEEDED).login_grace_time == 120
    assert parse({**NEEDED, "login_grace_time": "30s"}).login_grace_time == 30
    assert parse({**NEEDED, "login_grace_time": "0"}).login_grace_time == 0


@pytest.mark.parametrize(("key", "default"), NUMBERS.items())
def test_a_number_of_connections(key: str, default: int) -> None:
    assert getattr(parse(NEEDED), key) == default
    for value in (0, 1, 100_000):
        assert getattr(parse({**NEEDED, key: value}), key) == value
    for wrong in (-1, True, "1", 1.5, []):
        with pytest.raises(InvalidConfig, match=f"^{key}: .* is of the wrong kind$"):
            parse({**NEEDED, key: wrong})


@pytest.mark.parametrize("level", ["debug", "info", "error", "fatal"])
def test_log_levels(level: str) -> None:
    assert parse({"log_level": level}).log_level == level


@pytest.mark.parametrize("document", [{}, {"log_level": ""}, {"log_level": "warn"}, {"log_level": "INFO"}])
def test_a_log_level_is_required(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match=r"^log_level: "):
        parse(document)


@pytest.mark.parametrize("key", [*IGNORED, "nobody_knows"])
def test_what_has_no_effect(key: str) -> None:
    assert parse({**NEEDED, key: 7}) == parse(NEEDED)


def test_all_keys_are_here() -> None:
    known = {*KEYS, *TIMES, *NUMBERS, "login_grace_time", "log_level", "log_format", "time_format"}
    assert known == set(ProxyConfig.__dataclass_fields__) - {"without_effect"}
