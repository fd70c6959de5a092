"""Parser of ``rep.json``, strict about values and tolerant about keys.

A value of the wrong type is an error that names the key and the expected form. Keys match in any case.
Obsolete keys that job templates still write are accepted; unknown keys give a warning. A key that begins with
``//`` is a comment.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from bbs.models.invalid import describe
from bbs.models.meta import Width
from common.gotext import InvalidDuration, parse_duration
from rep.config import unused
from rep.config.keys import Loggregator, RepConfig
from rep.config.values import Duration, Source
from rep.ending import Ending

OBSOLETE = re.compile(
    r"cell_registrations_locket_enabled|enable_declarative_healthcheck"
    r"|log_rate_limit_exceeded_report_interval|export_network_env_vars|dropsonde_port|consul_.*"
    r"|enable_legacy_api_endpoints|require_tls|envoy_config_refresh_delay|use_node_port_for_pod_service"
    r"|bbs_(?:ca_cert|client_cert|client_key)_file|server_(?:cert|key|ca_cert)_file"
)

CHOICES: Mapping[str, tuple[str, ...]] = {
    "log_level": ("debug", "info", "error", "fatal"),
    "log_format": ("auto", "json", "text"),
    "time_format": ("unix-epoch", "rfc3339"),
    "layering_mode": ("single-layer", "two-layer"),
    "on_stop": tuple(each.value for each in Ending),
    "instance_identity_key_type": ("rsa", "ecdsa"),
}
"""The values of keys that have a few."""
COMMENT = "//"
"""Beginning of a key that is a comment."""
PLAIN_NETWORK_ADDRESS = "127.0.0.1:1801"
"""Default address of the network listener of a rep without certificates."""

_OWN_FIELDS = ("sources", "warnings")

Read = Callable[[object], object]


class ConfigError(Exception):
    """An unusable configuration file; exit status 2.

    key: empty for a problem of the whole file.
    """

    def __init__(self, path: str, key: str, problem: str) -> None:
        super().__init__(f'{path}: key "{key}": {problem}' if key else f"{path}: {problem}")
        self.path = path
        self.key = key


class _Mismatch(Exception):
    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"expected {expected}, got {describe(value)}")


def load(path: str | Path, *, zone: str = "") -> RepConfig:
    """Read a file; ``zone`` overrides the file's zone. Raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"cannot be read: {error}") from error
    return parse(text, path=str(path), zone=zone)


def parse(text: str, *, path: str = "rep.json", zone: str = "") -> RepConfig:
    """Parse a text. Raises ConfigError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(path, "", f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(path, "", f"expected one JSON object, got {describe(document)}")
    sources: dict[str, Source] = {}
    warnings: list[str] = []
    values = _read(RepConfig, document, "", path, sources, warnings)
    warnings += unused.warnings(values)
    if zone:
        values["zone"] = zone
        sources["zone"] = Source.FLAG
    config = RepConfig(**values, sources=MappingProxyType(sources), warnings=tuple(warnings))
    if config.plain and "listen_addr_securable" not in sources:
        return replace(config, listen_addr_securable=PLAIN_NETWORK_ADDRESS)
    return config


def _read(
    cls: type,
    document: Mapping[str, object],
    prefix: str,
    path: str,
    sources: dict[str, Source],
    warnings: list[str],
) -> dict[str, Any]:
    readers = _readers(cls)
    by_folded = {name.lower(): name for name in readers}
    values: dict[str, Any] = {}
    for written, value in document.items():
        name = by_folded.get(written.lower())
        key = f"{prefix}{written}"
        if written.startswith(COMMENT):
            continue
        if name is None:
            if not OBSOLETE.fullmatch(written):
                warnings.append(_unknown(key, written, readers))
        elif value is None:
            continue
        elif name == "loggregator":
            if not isinstance(value, dict):
                raise ConfigError(path, key, str(_Mismatch("an object", value)))
            inner = _read(Loggregator, value, "loggregator.", path, sources, warnings)
            values[name] = Loggregator(**inner)
        else:
            try:
                values[name] = readers[name](value)
            except _Mismatch as error:
                raise ConfigError(path, key, str(error)) from None
            sources[f"{prefix}{name}"] = Source.FILE
    return values


def _unknown(key: str, written: str, readers: Mapping[str, Read]) -> str:
    close = difflib.get_close_matches(written, readers, n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f'unknown key "{key}" is ignored{hint}'


def _readers(cls: type) -> dict[str, Read]:
    hints = get_type_hints(cls, include_extras=True)
    return {
        item.name: _choice(CHOICES[item.name]) if item.name in CHOICES else _reader(hints[item.name])
        for item in dataclasses.fields(cls)
        if item.name not in _OWN_FIELDS
    }


def _reader(hint: object) -> Read:
    if hint is Duration:
        return _duration
    if hint is str:
        return _plain(str, "a string")
    if hint is bool:
        return _plain(bool, "true or false")
    if get_origin(hint) is tuple:
        return _strings
    if get_origin(hint) is Annotated:
        return _number(next(note for note in get_args(hint) if isinstance(note, Width)))
    if hint is Loggregator:
        return _plain(dict, "an object")
    raise TypeError(f"no configuration form for {hint!r}")


def _plain(kind: type, expected: str) -> Read:
    def read(value: object) -> object:
        if type(value) is not kind:
            raise _Mismatch(expected, value)
        return value

    return read


def _number(width: Width) -> Read:
    def read(value: object) -> object:
        if type(value) is not int or not width.low <= value <= width.high:
            raise _Mismatch("a whole number" + (" of 0 or more" if width.low == 0 else ""), value)
        return value

    return read


def _choice(choices: tuple[str, ...]) -> Read:
    def read(value: object) -> object:
        if value not in choices:
            raise _Mismatch("one of " + ", ".join(f'"{choice}"' for choice in choices), value)
        return value

    return read


def _duration(value: object) -> object:
    expected = 'a duration such as "30s", "500ms" or "1m30s"'
    if not isinstance(value, str):
        raise _Mismatch(expected, value)
    try:
        return Duration(parse_duration(value))
    except InvalidDuration:
        raise _Mismatch(expected, value) from None


def _strings(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(element, str) for element in value):
        raise _Mismatch("a list of strings", value)
    return tuple(value)
