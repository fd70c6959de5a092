"""The tree as it stands: the plan, and what the events so far made of it.

All views that show the tree ask this. Nothing here looks at a clock or a screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from cell.runner.events import ContainerChanged, EngineTold, LogWritten, RunEnded, RunEvent, RunStarted
from cell.runner.plan import Node
from executor.steps.trace import Outcome, StepEnded, StepProgress, StepStarted


class State(Enum):
    """Of one step."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STATES = {
    Outcome.SUCCEEDED: State.SUCCEEDED,
    Outcome.FAILED: State.FAILED,
    Outcome.CANCELLED: State.CANCELLED,
}


@dataclass(slots=True, kw_only=True)
class Row:
    """One step as it stands. depth: 0 for a root. seconds: how long it took, once it ended.

    transferred, total: bytes; total None when nobody knows.
    """

    node: Node
    depth: int
    state: State = State.WAITING
    started_ns: int = 0
    ended_ns: int = 0
    seconds: float = 0.0
    transferred: int | None = None
    total: int | None = None
    exit_status: int | None = None
    reason: str = ""
    cause: str = ""
    last_line: str = ""
    children: list[Row] = field(default_factory=list)

    def elapsed(self, now_ns: int) -> float:
        """Seconds so far, or in all."""
        if self.state is State.RUNNING:
            return max(0.0, (now_ns - self.started_ns) / 1e9)
        return self.seconds

    def walk(self) -> Iterator[Row]:
        """This row and all below, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


class Tree:
    """Rows by path, in the plan's order. container: state of the container, and what it waits for."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.container = ContainerChanged(time_ns=0, guid="", state="")
        self.waiting_for = ""
        self.ended: RunEnded | None = None
        self.roots: list[Row] = []
        self._rows: dict[str, Row] = {}

    def __iter__(self) -> Iterator[Row]:
        for root in self.roots:
            yield from root.walk()

    def row(self, path: str) -> Row | None:
        """The step at a path, if the plan has it."""
        return self._rows.get(path)

    def apply(self, event: RunEvent) -> None:
        """Take one event in."""
        match event:
            case RunStarted():
                self.started = event
                self.roots = [self._grow(node, 0) for node in event.tree]
            case ContainerChanged():
                self.container = event
                self.waiting_for = ""
            case EngineTold():
                self.waiting_for = event.text
            case LogWritten():
                self._log(event)
            case RunEnded():
                self.ended = event
            case StepStarted() | StepProgress() | StepEnded():
                self._step(event)
            case _:
                pass  # calls to the engine are no part of the tree

    def failing(self) -> Row | None:
        """The step the failure began in: the first to fail of those whose failure nobody took back."""
        return min(self.failures(), key=lambda row: row.ended_ns, default=None)

    def failures(self) -> list[Row]:
        """The steps that failed by themselves, where nobody took the failure back."""
        return [leaf for root in self.roots for leaf in _failed_leaves(root)]

    def _grow(self, node: Node, depth: int) -> Row:
        row = self._rows[node.path] = Row(node=node, depth=depth)
        row.children = [self._grow(child, depth + 1) for child in node.children]
        return row

    def _step(self, event: StepStarted | StepProgress | StepEnded) -> None:
        row = self._rows.get(event.path)
        if row is None:  # the cell's own: a hook, a proxy
            row = self._grow(Node(path=event.path, kind=event.path.rpartition("/")[2]), 0)
            self.roots.append(row)
        if isinstance(event, StepStarted):
            row.state, row.started_ns = State.RUNNING, event.time_ns
            self.waiting_for = ""
        elif isinstance(event, StepProgress):
            row.transferred, row.total = event.transferred_bytes, event.total_bytes
        else:
            row.state, row.ended_ns, row.seconds = _STATES[event.outcome], event.time_ns, event.seconds
            row.reason, row.cause = event.reason, event.cause
            row.exit_status = event.facts.exit_status
            if event.facts.transferred_bytes is not None:
                row.transferred = event.facts.transferred_bytes

    def _log(self, event: LogWritten) -> None:
        """A line belongs to the step of its source that runs, the youngest if there are several."""
        line = event.line
        writers = [
            row
            for row in self
            if row.state is State.RUNNING and not row.children and row.node.source == line.source_type
        ]
        if writers:
            youngest = max(writers, key=lambda row: row.started_ns)
            youngest.last_line = line.payload.decode(errors="replace")


def _failed_leaves(row: Row) -> Iterator[Row]:
    if row.state is State.FAILED:
        below = [leaf for child in row.children for leaf in _failed_leaves(child)]
        yield from below or [row]
