"""Check of a rep.json without a start: all its problems and its effective values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from bbs.client.tls import TLSConfigurationError, client_context
from cell.assembly.terminal import Table
from common.gotext import format_duration
from rep.config import (
    ConfigError,
    Duration,
    RepConfig,
    Source,
    findings,
    load,
    parse,
    sidecar_root_fs,
    stack_map,
)
from rep.rootfs import InvalidPreloadedRootFS, UnknownStack
from rep.tls import check_admin_certificate


@dataclass(frozen=True, slots=True)
class Report:
    """problems: reasons not to start. warnings: odd but harmless. config: the readable part."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    config: RepConfig


def check(path: Path, *, zone: str = "") -> Report:
    """All problems of a file; a start stops at the first.

    Raises ConfigError for a file that cannot be read at all.
    """
    config, unreadable = _read(path, zone)
    keys = tuple(error.key for error in unreadable)
    problems = [str(error).removeprefix(f"{error.path}: ") for error in unreadable]
    for finding in findings(config):
        problems.extend(
            f"{problem.detail} ({problem.message})"
            for problem in finding.problems
            # An unreadable key has its default here, so further problems with it are not real.
            if not any(key in problem.detail for key in keys)
        )
    problems += _stack_problems(config) + _identity_problems(config)
    return Report(tuple(problems), config.warnings, config)


def explain(path: Path, report: Report) -> str:
    """The report for people, one line per item."""
    lines = [f"{path}: problem: {problem}" for problem in report.problems]
    lines += [f"{path}: warning: {warning}" for warning in report.warnings]
    if not report.problems:
        lines.append(f"{path}: a cell can start with this configuration")
    return "\n".join(lines)


def values_as_text(config: RepConfig) -> str:
    """Every key with its value as JSON and its origin; defaults last."""
    rows = [
        (key, json.dumps(in_file(key, value), ensure_ascii=False), source.value)
        for key, value, source in sorted(config.effective(), key=lambda row: row[2] is Source.DEFAULT)
    ]
    return Table(("KEY", "VALUE", "FROM"), rows).text()


def values_as_json(config: RepConfig) -> str:
    """One JSON object: for each key its ``value``, in the form of the file, and its ``source``."""
    values = {
        key: {"value": in_file(key, value), "source": source.value}
        for key, value, source in config.effective()
    }
    return json.dumps(values, indent=2, ensure_ascii=False)


def _read(path: Path, zone: str) -> tuple[RepConfig, list[ConfigError]]:
    """Collect and drop unreadable keys until the rest can be read."""
    unreadable: list[ConfigError] = []
    try:
        return load(path, zone=zone), unreadable
    except ConfigError as error:
        if not error.key:
            raise
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    while True:
        try:
            return parse(json.dumps(document), path=str(path), zone=zone), unreadable
        except ConfigError as error:
            unreadable.append(error)
            _leave_out(document, error.key)


def _leave_out(document: dict[str, Any], key: str) -> None:
    outer, dot, inner = key.partition(".")
    if not dot:
        del document[outer]
        return
    (written,) = (name for name in document if name.lower() == outer)
    del document[written][inner]


def _stack_problems(config: RepConfig) -> list[str]:
    try:
        stacks = stack_map(config)
    except InvalidPreloadedRootFS as error:
        return [f'key "preloaded_root_fs": expected texts such as "stack-name:path" ({error})']
    except OSError as error:
        return [f'key "extra_root_fs_dir": {error}']
    try:
        sidecar_root_fs(config)
    except UnknownStack as error:
        known = ", ".join(stacks.names) or "none"
        return [f'key "sidecar_root_fs": expected a stack of this cell ({known}), got "{error.root_fs}"']
    return []


def _identity_problems(config: RepConfig) -> list[str]:
    """Problems of configured files that are missing or do not match."""
    identities = {
        "cert_file": (config.ca_cert_file, config.cert_file, config.key_file),
        "locket_client_cert_file": (
            config.locket_ca_cert_file,
            config.locket_client_cert_file,
            config.locket_client_key_file,
        ),
    }
    problems = []
    for key, files in identities.items():
        if not all(files):
            continue
        ca_file, cert_file, key_file = map(Path, files)
        try:
            client_context(ca_file, cert_file, key_file)
            if key == "cert_file":
                check_admin_certificate(cert_file)
        except TLSConfigurationError as error:
            problems.append(f'key "{key}": {error}')
    return problems


def in_file(key: str, value: object) -> object:
    """A value in the form that it has in the file."""
    hint = _HINTS.get(key)
    return format_duration(value) if hint is Duration and isinstance(value, int) else value


_HINTS = get_type_hints(RepConfig)
