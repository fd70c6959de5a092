"""Chrome's trace format, for a trace viewer or ``cell explain``.

Each step is a complete event. Children of parallel and codependent steps get their own tracks, so a viewer
shows concurrent steps side by side; sequential steps share their parent's track.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cell.runner.encoding import to_json
from cell.runner.events import ContainerChanged, EngineCalled, LogWritten, RunEnded, RunEvent, RunStarted
from cell.story.plan import CONCURRENT, Node
from executor.steps.trace import StepEnded, StepProgress

EVENTS_KEY = "runEvents"
"""Key next to ``traceEvents`` for the events, without output and progress. Viewers ignore it."""

_PID = 1
_CONTAINER_TRACK, _ENGINE_TRACK, _LOG_TRACK, _FIRST_STEP_TRACK = 1, 2, 3, 10


class TraceView:
    """Stores events and writes the file at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events: list[RunEvent] = []

    def take(self, event: RunEvent) -> None:
        if not isinstance(event, StepProgress):
            self._events.append(event)

    def close(self) -> None:
        """Raises OSError."""
        self._path.write_text(json.dumps(trace_document(self._events)) + "\n", encoding="utf-8")


def trace_document(events: list[RunEvent]) -> dict[str, Any]:
    """The whole file as a JSON value. Pure."""
    tracks = _Tracks()
    trace: list[dict[str, Any]] = []
    previous: ContainerChanged | None = None
    for event in events:
        match event:
            case RunStarted():
                tracks.plan(event.tree)
            case StepEnded():
                trace.append(_step(event, tracks))
            case EngineCalled():
                begin = event.time_ns - round(event.seconds * 1e9)
                args = {"error": event.error} if event.error else {}
                trace.append(_span(event.call, "engine", _ENGINE_TRACK, begin, event.time_ns, args))
            case LogWritten(line=line):
                text = line.payload.decode(errors="replace")
                args = {"stream": line.stream.value, "text": text}
                trace.append(_instant(f"[{line.source_type}] {text[:60]}", "log", line.time_ns, args))
            case ContainerChanged():
                if previous is not None:
                    trace.append(_state(previous, event.time_ns))
                previous = event
            case RunEnded() if previous is not None:
                trace.append(_state(previous, event.time_ns))
            case _:
                pass
    return {
        "traceEvents": [*tracks.names(), *sorted(trace, key=lambda entry: float(entry["ts"]))],
        "displayTimeUnit": "ms",
        EVENTS_KEY: [to_json(event) for event in events if not isinstance(event, LogWritten)],
    }


class _Tracks:
    """Track numbers by step path."""

    def __init__(self) -> None:
        self._by_path: dict[str, int] = {}
        self._labels = {_CONTAINER_TRACK: "container", _ENGINE_TRACK: "engine", _LOG_TRACK: "output"}

    def plan(self, tree: tuple[Node, ...]) -> None:
        for root in tree:
            self._place(root, self._new(root.path))

    def of(self, path: str) -> int:
        if path not in self._by_path:
            self._by_path[path] = self._new(path)
        return self._by_path[path]

    def names(self) -> Iterator[dict[str, Any]]:
        """The metadata events that give every track its name."""
        yield _metadata("process_name", 0, "cell run")
        for number, label in self._labels.items():
            yield _metadata("thread_name", number, label)

    def _new(self, label: str) -> int:
        number = max(_FIRST_STEP_TRACK, max(self._labels) + 1)
        self._labels[number] = label
        return number

    def _place(self, node: Node, track: int) -> None:
        self._by_path[node.path] = track
        for child in node.children:
            self._place(child, self._new(child.path) if node.kind in CONCURRENT else track)


def _metadata(name: str, track: int, value: str) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": _PID, "tid": track, "ts": 0, "args": {"name": value}}


def _span(
    name: str, category: str, track: int, begin_ns: int, end_ns: int, args: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": begin_ns / 1000,
        "dur": max(0, end_ns - begin_ns) / 1000,
        "pid": _PID,
        "tid": track,
        "args": args,
    }


def _instant(name: str, category: str, time_ns: int, args: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "cat": category,
        "ph": "i",
        "s": "t",
        "ts": time_ns / 1000,
        "pid": _PID,
        "tid": _LOG_TRACK,
        "args": args,
    }


def _state(change: ContainerChanged, until_ns: int) -> dict[str, Any]:
    args = {"guid": change.guid, "address": change.address}
    return _span(change.state, "container", _CONTAINER_TRACK, change.time_ns, until_ns, args)


def _step(event: StepEnded, tracks: _Tracks) -> dict[str, Any]:
    args: dict[str, Any] = {"path": event.path, "outcome": event.outcome.value}
    facts = event.facts
    extras = {
        "reason": event.reason,
        "cause": event.cause,
        "exit_status": facts.exit_status,
        "bytes": facts.transferred_bytes,
    }
    args |= {name: value for name, value in extras.items() if value not in (None, "")}
    begin = event.time_ns - round(event.seconds * 1e9)
    name = event.path.rpartition("/")[2]
    return _span(name, "step", tracks.of(event.path), begin, event.time_ns, args)
