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
    """Address on which users connect. Required."""
    health_check_address: str = ""
    """Address of the HTTP health check."""
    metrics_address: str = ""
    """Address of the metrics for Prometheus, plain HTTP. Empty: none."""
    disable_health_check_server: bool = False
    """No HTTP health check."""
    host_key: str = ""
    """Private host key, PEM, as text. Required."""
    bbs_address: str = ""
    """URL of the BBS. Required."""
    bbs_ca_cert: str = ""
    """CA of the BBS, path of a PEM file."""
    bbs_client_cert: str = ""
    """Client certificate for the BBS, path of a PEM file. A renewed file applies within 5 s."""
    bbs_client_key: str = ""
    """Private key of `bbs_client_cert`, path of a PEM file."""
    enable_diego_auth: bool = False
    """Accept `diego:PROCESS_GUID/INDEX` with `diego_credentials` as password."""
    diego_credentials: str = ""
    """The password of such users."""
    enable_cf_auth: bool = False
    """Accept `cf:APP_GUID/INDEX` with a one-time code of the UAA."""
    cc_api_url: str = ""
    """URL of the Cloud Controller, which decides about access to an app."""
    cc_api_ca_cert: str = ""
    """CA of the Cloud Controller, path of a PEM file."""
    uaa_token_url: str = ""
    """URL of the UAA's tokens."""
    uaa_username: str = ""
    """Client at the UAA."""
    uaa_password: str = ""
    """Its password."""
    uaa_ca_cert: str = ""
    """CA of the UAA, path of a PEM file."""
    skip_cert_verify: bool = False
    """Do not verify Cloud Controller and UAA."""
    allowed_ciphers: str = ""
    """Ciphers, separated by commas. Empty: the usual ones."""
    allowed_macs: str = ""
    """Message authentication codes, separated by commas. Empty: the usual ones."""
    allowed_key_exchanges: str = ""
    """Key exchanges, separated by commas. Empty: the usual ones."""
    communication_timeout: float = 0
    """Time limit of a request to BBS, Cloud Controller and UAA; `0s`: 10 s."""
    idle_connection_timeout: float = 0
    """Time without traffic after which a connection ends; `0s`: no limit."""
    login_grace_time: float = LOGIN_SECONDS
    """Time limit of the authentication; `0s`: no limit."""
    max_connections: int = _LIMITS.total
    """Authenticated connections; further clients wait. 0: no limit."""
    max_connections_per_user: int = _LIMITS.per_user
    """Connections of one platform user; 0: no limit."""
    max_connections_per_instance: int = _LIMITS.per_instance
    """Connections to one instance; 0: no limit."""
    connect_to_instance_address: bool = False
    """Connect to the address of the container instead of that of its host."""
    backends_tls_enabled: bool = False
    """Use TLS to instances that offer it."""
    backends_tls_required: bool = False
    """Never use the plain address of an instance. Needs `backends_tls_enabled`."""
    backends_tls_ca_certificates: str = ""
    """CA of the instances, path of a PEM file."""
    backends_tls_client_certificate: str = ""
    """Client certificate for instances, path of a PEM file."""
    backends_tls_client_private_key: str = ""
    """Its private key, path of a PEM file."""
    loggregator: Mapping[str, Any] = field(default_factory=dict)
    """As in rep.json: sessions are logged in the app's stream if it has an identity."""
    log_level: str = ""
    """Lowest level of the proxy's own log: `debug`, `info`, `error` or `fatal`. Required."""
    log_format: Mapping[str, Any] = field(default_factory=dict)
    """Its member `timestamp` is another place of `time_format`."""
    time_format: str = ""
    """Form of the times in the proxy's own log: `unix-epoch` or `rfc3339`."""
    without_effect: tuple[str, ...] = field(default=(), compare=False)
    """Keys that are set and have no effect. It is no key itself."""

    @property
    def rfc3339(self) -> bool:
        return "rfc3339" in (self.time_format, self.log_format.get("timestamp"))


_WITHOUT_EFFECT = ("bbs_client_session_cache_size", "bbs_max_idle_conns_per_host")
DURATIONS = ("communication_timeout", "idle_connection_timeout", "login_grace_time")
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
        if name in DURATIONS:
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
