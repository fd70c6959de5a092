"""JSON form of run events, for ``--json`` and for the traces that ``cell explain`` reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from cell.runner.events import (
    ContainerChanged,
    EngineCalled,
    EngineProgress,
    LogWritten,
    ResultRead,
    RunEnded,
    RunEvent,
    RunStarted,
    Warned,
)
from cell.story.plan import Node
from executor.steps.trace import Facts, Outcome, StepEnded, StepProgress, StepStarted

NAMES: Mapping[type[RunEvent], str] = {
    RunStarted: "run_started",
    ContainerChanged: "container_changed",
    EngineProgress: "engine_told",
    EngineCalled: "engine_called",
    Warned: "warned",
    LogWritten: "log_written",
    ResultRead: "result_read",
    StepStarted: "step_started",
    StepProgress: "step_progress",
    StepEnded: "step_ended",
    RunEnded: "run_ended",
}
"""The ``event`` field of the JSON form."""

_TYPES = {name: kind for kind, name in NAMES.items()}


class UnknownEvent(ValueError):
    """The JSON object is not a run event; the message gives the reason."""


def to_json(event: RunEvent, guid: str = "") -> dict[str, Any]:
    """The JSON form. guid: of the container, added to events without one."""
    named: dict[str, Any] = {"event": NAMES[type(event)]}
    if guid:
        named["guid"] = guid
    match event:
        case LogWritten(line=line):
            return named | {
                "time_ns": line.time_ns,
                "source": line.source_type,
                "stream": line.stream.value,
                "text": line.payload.decode(errors="replace"),
            }
        case RunStarted():
            return named | _fields(event) | {"tree": [_node(node) for node in event.tree]}
        case StepEnded():
            facts = {key: value for key, value in _fields(event.facts).items() if value not in (None, "")}
            return named | _fields(event) | {"facts": facts}
        case _:
            return named | _fields(event)


def from_json(value: object) -> RunEvent | None:
    """The event of a JSON form; None for a log line, which no reader needs. Raises UnknownEvent."""
    if not isinstance(value, dict) or value.get("event") not in _TYPES:
        raise UnknownEvent(f"not an event of a run: {json.dumps(value)[:80]}")
    kind = _TYPES[value["event"]]
    if kind is LogWritten:
        return None
    members = {field.name: value[field.name] for field in dataclasses.fields(kind) if field.name in value}
    try:
        if "tree" in members:
            members["tree"] = tuple(_read_node(node) for node in members["tree"])
        if "ports" in members:
            members["ports"] = tuple((host, inside) for host, inside in members["ports"])
        if "outcome" in members:
            members["outcome"] = Outcome(members["outcome"])
        if "facts" in members:
            members["facts"] = Facts(**members["facts"])
        event: RunEvent = kind(**members)
    except (TypeError, ValueError, KeyError) as error:
        raise UnknownEvent(f"a broken {value['event']} event: {error}") from error
    return event


def _fields(part: RunEvent | Facts) -> dict[str, Any]:
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return {key: value.value if isinstance(value, Enum) else value for key, value in values.items()}


def _node(node: Node) -> dict[str, Any]:
    return {
        "path": node.path,
        "kind": node.kind,
        "label": node.label,
        "source": node.source,
        "children": [_node(child) for child in node.children],
    }


def _read_node(value: dict[str, Any]) -> Node:
    return Node(
        path=str(value["path"]),
        kind=str(value["kind"]),
        label=str(value["label"]),
        source=str(value["source"]),
        children=tuple(_read_node(child) for child in value["children"]),
    )
