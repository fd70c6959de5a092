"""Explanation of a finished run from its stored events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cell.assembly.terminal import one_line
from cell.errors import BadInput
from cell.runner.document import read_source
from cell.runner.encoding import UnknownEvent, from_json
from cell.runner.events import EngineCalled, RunEvent, RunStarted
from cell.runner.model import Row, Tree
from cell.runner.views.picture import format_seconds, picture
from cell.runner.views.trace import EVENTS_KEY


def read_trace(source: str) -> list[RunEvent]:
    """The events of a trace, or of JSON lines. Raises BadInput."""
    name, text = read_source(source)
    try:
        events = [event for value in _values(text) if (event := from_json(value)) is not None]
    except (UnknownEvent, json.JSONDecodeError) as error:
        raise BadInput(f"{name}: not a trace of `cell run`: {error}") from error
    if not any(isinstance(event, RunStarted) for event in events):
        raise BadInput(f"{name}: the trace has no start of a run; was it written by `cell run`?")
    return events


def _values(text: str) -> list[Any]:
    """The JSON forms of the events in a trace file or in JSON lines."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(whole, dict) and isinstance(kept := whole.get(EVENTS_KEY), list):
        return kept
    return [whole]


def explanation(events: list[RunEvent]) -> Iterator[RenderableType]:
    """The explanation as renderables. Pure."""
    tree = Tree()
    for event in events:
        tree.apply(event)
    last_ns = max((event.time_ns for event in events if hasattr(event, "time_ns")), default=0)
    failing = tree.failing()
    if failing is not None and tree.ended is not None and tree.ended.exit_code:
        yield from _failure(failing)
    elif tree.ended is not None and tree.ended.exit_code:
        yield Text(f"✗ {one_line(tree.ended.reason)}", style="bold red")
        yield Text("")
    elif tree.ended is None:
        yield Text("the trace ends before the end of the run", style="yellow")
        yield Text("")
    yield picture(tree, last_ns)
    calls = [event for event in events if isinstance(event, EngineCalled)]
    if calls:
        spent = sum(call.seconds for call in calls)
        yield Text("")
        yield Text(f"{len(calls)} engine calls, {format_seconds(spent)} in all; the longest:", style="dim")
        for call in sorted(calls, key=lambda call: -call.seconds)[:3]:
            text = f"  {format_seconds(call.seconds):>7}  {one_line(call.call)}"
            yield Text(f"{text}: {one_line(call.error)}" if call.error else text, style="dim")


def _failure(row: Row) -> Iterator[RenderableType]:
    yield Text(f"✗ {row.node.path} failed after {format_seconds(row.seconds)}", style="bold red")
    for title, text in (("step", row.node.label), ("reason", row.reason), ("cause", row.cause)):
        if text:
            yield Text(f"  {title:7} {one_line(text)}")
    if row.exit_status is not None:
        yield Text(f"  {'status':7} {row.exit_status}")
    yield Text("")
