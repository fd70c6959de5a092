"""The proxy's configuration file, with the names, durations and defaults of the Go proxy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.goerrors import path_error
from common.gotext import parse_duration
from common.lager import LEVELS
from sshd.proxy.limits import ConnectionLimits
from sshd.ssh.server import LOGIN_SECONDS

NANOSECONDS = 1e9
LONGEST = 2**63
"""Of a duration in nanoseconds, Go's type."""
_LIMITS = ConnectionLimits()


class InvalidConfig(ValueError):
    """The file is unreadable, not a JSON object, or has a value of the wrong type; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """The names are those of the file.

    Times are in seconds. 0 means no limit, also for numbers of connections. Certificates are paths.
    """

    address: str = ""
    health_check_address: str = ""
    disable_health_check_server: bool = False
    host_key: str = ""
    bbs_address: str = ""
    bbs_ca_cert: str = ""
    bbs_client_cert: str = ""
    bbs_client_key: str = ""
    enable_diego_auth: bool = False
    diego_credentials: str = ""
    enable_cf_auth: bool = False
    cc_api_url: str = ""
    cc_api_ca_cert: str = ""
    uaa_token_url: str = ""
    uaa_username: str = ""
    uaa_password: str = ""
    uaa_ca_cert: str = ""
    skip_cert_verify: bool = False
    allowed_ciphers: str = ""
    allowed_macs: str = ""
    allowed_key_exchanges: str = ""
    communication_timeout: float = 0
    idle_connection_timeout: float = 0
    login_grace_time: float = LOGIN_SECONDS
    max_connections: int = _LIMITS.total
    max_connections_per_user: int = _LIMITS.per_user
    max_connections_per_instance: int = _LIMITS.per_instance
    connect_to_instance_address: bool = False
    backends_tls_enabled: bool = False
    backends_tls_required: bool = False
    backends_tls_ca_certificates: str = ""
    backends_tls_client_certificate: str = ""
    backends_tls_client_private_key: str = ""
    loggregator: Mapping[str, Any] = field(default_factory=dict)
    log_level: str = ""
    log_format: Mapping[str, Any] = field(default_factory=dict)
    time_format: str = ""
    without_effect: tuple[str, ...] = field(default=(), compare=False)
    """Keys that are set and have no effect. It is no key itself."""

    @property
    def rfc3339(self) -> bool:
        return "rfc3339" in (self.time_format, self.log_format.get("timestamp"))


_WITHOUT_EFFECT = ("bbs_client_session_cache_size", "bbs_max_idle_conns_per_host")
_DURATIONS = ("communication_timeout", "idle_connection_timeout", "login_grace_time")
_KINDS: Mapping[str, type] = {"str": str, "bool": bool, "Mapping[str, Any]": dict}


def load(path: Path) -> ProxyConfig:
    """Read the file. Raises :class:`InvalidConfig`."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig(path_error("open", str(path), error)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise InvalidConfig(f"{path}: not a JSON object")
    return parse(document)


def parse(document: Mapping[str, Any]) -> ProxyConfig:
    """Unknown keys are ignored. Raises :class:`InvalidConfig`."""
    values: dict[str, Any] = {}
    for name, spec in ProxyConfig.__dataclass_fields__.items():
        value = document.get(name)
        if value is None or name == "without_effect":
            continue
        if name in _DURATIONS:
            values[name] = _seconds(name, value)
        elif _is_of_kind(value, str(spec.type)):
            values[name] = value
        else:
            raise InvalidConfig(f"{name}: {value!r} is of the wrong kind")
    ignored = tuple(key for key in _WITHOUT_EFFECT if document.get(key))
    config = ProxyConfig(**values, without_effect=ignored)
    if config.log_level not in LEVELS:
        raise InvalidConfig(f"log_level: {config.log_level!r} is not one of {', '.join(LEVELS)}")
    return config


def _is_of_kind(value: object, kind: str) -> bool:
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, _KINDS[kind])


def _seconds(name: str, value: object) -> float:
    if isinstance(value, str):
        try:
            return parse_duration(value) / NANOSECONDS if value else 0
        except ValueError as error:
            raise InvalidConfig(f"{name}: {error}") from error
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LONGEST:
        return value / NANOSECONDS
    raise InvalidConfig(f"{name}: {value!r} is not a duration")
