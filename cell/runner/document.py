"""Workload documents: reading, detection of the kind, validation.

Every problem is reported with the JSON path of its field.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bbs.models.actions import (
    Action,
    Combination,
    DownloadAction,
    RunAction,
    TimeoutAction,
    UploadAction,
    Wrapper,
    children,
    json_paths,
    kind_of,
)
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.documents import TaskDocument, read_document
from bbs.models.invalid import InvalidDocument, describe
from bbs.models.task import TaskDefinition
from bbs.models.validation.actions import CHECKSUM_ALGORITHMS
from cell.errors import BadInput
from cell.runner.places import Places, places
from cell.runner.strict import findings, is_unknown_action
from executor.errors import NetworkError
from executor.network.egress import compile_rules

Workload = Action | TaskDocument | DesiredLRP

STDIN = "-"
_REQUIRED = "a value (this field is required)"


def read_workload(source: str, *, root_fs: str = "") -> Workload:
    """Read a file, or standard input for ``-``. root_fs: used if the document has none.

    Raises BadInput with all problems, one a line, each with its JSON path, line and column.
    """
    name, text = read_source(source)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{name}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise BadInput(f"{name}: nested too deeply") from error
    found = places(text)
    problems = [
        (repeated.path, f"the key is there twice, first in line {found.line(repeated.first)}")
        for repeated in found.repeated
    ]
    problems += findings(value)
    try:
        workload = read_runnable(value, root_fs=root_fs)
    except InvalidDocument as error:
        if not any(is_unknown_action(finding, error.path) for finding in problems):
            problems += [(error.path, _text(error))]
    else:
        problems += [(error.path, _text(error)) for error in problems_of(value, workload)]
        if not problems:
            return workload
    raise BadInput("\n".join(f"{name}: {path}: {text}{_place(found, path)}" for path, text in problems))


def _text(error: InvalidDocument) -> str:
    hint = " (or give --image)" if error.path.endswith(".rootfs") else ""
    return f"expected {error.expected}, got {error.got}{hint}"


def _place(found: Places, path: str) -> str:
    line, column = found.of(path)
    return f" (line {line}, column {column})"


def read_source(source: str) -> tuple[str, str]:
    """The name and the text of a file, or of standard input for ``-``. Raises BadInput."""
    name = "standard input" if source == STDIN else source
    try:
        return name, sys.stdin.read() if source == STDIN else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: not UTF-8 text: {error.reason} at byte {error.start}") from error


def read_runnable(value: object, *, root_fs: str = "") -> Workload:
    """The workload of a parsed document. Raises InvalidDocument."""
    return read_document(_with_root_fs(value, root_fs) if root_fs else value)


def problems_of(value: object, workload: Workload) -> Iterator[InvalidDocument]:
    """What a run of the workload would refuse. value: the parsed document that it was read from."""
    nested = isinstance(value, dict) and isinstance(value.get("task_definition"), dict)
    return _problems(workload, nested="$.task_definition" if nested else "$")


def _with_root_fs(value: object, root_fs: str) -> object:
    """The document with ``root_fs`` where its own is missing."""
    if not isinstance(value, dict):
        return value
    definition = value.get("task_definition")
    if isinstance(definition, dict):
        return {**value, "task_definition": _with_root_fs(definition, root_fs)}
    keys = {key.lower() for key in value}
    if keys & {"rootfs", "root_fs"} or not keys & {"action", "actions", "process_guid", "task_guid"}:
        return value
    return {**value, "rootfs": root_fs}


def _problems(workload: Workload, *, nested: str) -> Iterator[InvalidDocument]:
    if isinstance(workload, DesiredLRP):
        actions = {"setup": workload.setup, "action": workload.action, "monitor": workload.monitor}
        for name, action in actions.items():
            if action is not None:
                yield from _action_problems(action, f"$.{name}")
        for index, sidecar in enumerate(workload.sidecars):
            if sidecar.action is None:
                yield InvalidDocument(f"$.sidecars[{index}].action", _REQUIRED, "nothing")
            else:
                yield from _action_problems(sidecar.action, f"$.sidecars[{index}].action")
        for index, port in enumerate(workload.ports):
            if port == 0:
                yield InvalidDocument(f"$.ports[{index}]", "a port from 1 to 65535", describe(port))
        yield from _workload_problems(workload, "$")
    elif isinstance(workload, TaskDocument):
        if workload.definition.action is not None:
            yield from _action_problems(workload.definition.action, f"{nested}.action")
        yield from _workload_problems(workload.definition, nested)
    else:
        yield from _action_problems(workload, "$")


def _workload_problems(part: DesiredLRP | TaskDefinition, path: str) -> Iterator[InvalidDocument]:
    for name in ("memory_mb", "disk_mb", "max_pids"):
        if (number := getattr(part, name)) < 0:
            yield InvalidDocument(f"{path}.{name}", "0 (unlimited) or more", describe(number))
    for index, rule in enumerate(part.egress_rules):
        try:
            compile_rules((rule,))
        except NetworkError as error:
            reason = str(error).removeprefix("egress rule: ")
            yield InvalidDocument(f"{path}.egress_rules[{index}]", "a rule that can be applied", reason)
    for index, variable in enumerate(part.environment_variables):
        if not variable.name:
            yield InvalidDocument(f"{path}.env[{index}].name", _REQUIRED, "nothing")
    if part.volume_mounts:
        yield InvalidDocument(
            f"{path}.volume_mounts", "none (this machine has no volume driver)", f"{len(part.volume_mounts)}"
        )


def _action_problems(action: Action, path: str) -> Iterator[InvalidDocument]:
    match action:
        case RunAction():
            yield from _missing(f"{path}.run", {"path": action.path, "user": action.user})
        case DownloadAction():
            where = f"{path}.download"
            yield from _missing(where, {"from": action.from_, "to": action.to, "user": action.user})
            yield from _checksum_problems(action, where)
        case UploadAction():
            where = f"{path}.upload"
            yield from _missing(where, {"from": action.from_, "to": action.to, "user": action.user})
        case TimeoutAction() if action.timeout_ms <= 0:
            got = describe(action.timeout_ms) if action.timeout_ms else "nothing"
            yield InvalidDocument(f"{path}.timeout.timeout_ms", "milliseconds, more than 0", got)
    below = children(action)
    if not below and isinstance(action, Wrapper):
        yield InvalidDocument(f"{path}.{kind_of(action)}.action", "an action", "nothing")
    if not below and isinstance(action, Combination):
        yield InvalidDocument(f"{path}.{kind_of(action)}.actions", "at least one action", "none")
    for inner, where in zip(below, json_paths(action, path), strict=True):
        yield from _action_problems(inner, where)


def _missing(path: str, fields: Mapping[str, str]) -> Iterator[InvalidDocument]:
    for name, value in fields.items():
        if not value:
            yield InvalidDocument(f"{path}.{name}", _REQUIRED, "nothing")


def _checksum_problems(action: DownloadAction, path: str) -> Iterator[InvalidDocument]:
    algorithm, value = action.checksum_algorithm, action.checksum_value
    if value and not algorithm:
        yield InvalidDocument(f"{path}.checksum_algorithm", "the algorithm of checksum_value", "nothing")
    if algorithm and not value:
        yield InvalidDocument(f"{path}.checksum_value", f"a {algorithm} digest in hex", "nothing")
    if algorithm and algorithm not in CHECKSUM_ALGORITHMS:
        known = ", ".join(CHECKSUM_ALGORITHMS)
        yield InvalidDocument(f"{path}.checksum_algorithm", f"one of {known}", describe(algorithm))
