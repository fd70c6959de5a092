"""State model of the tree: the plan, updated by events.

All views of the tree use it. It accesses neither clock nor screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cell.runner.events import ContainerChanged, EngineProgress, LogWritten, RunEnded, RunEvent, RunStarted
from cell.story.plan import Node
from cell.story.progress import State, StepProgressed
from executor.steps.trace import StepEnded, StepProgress, StepStarted


@dataclass(slots=True, kw_only=True)
class Row(StepProgressed):
    """Current state of a step in the tree. depth: 0 for a root."""

    node: Node
    depth: int
    last_line: str = ""
    children: list[Row] = field(default_factory=list)

    def walk(self) -> Iterator[Row]:
        """This row and all rows below, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


class Tree:
    """Rows by path, in the plan's order. container: its state, and the operation it waits for."""

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
        """The step at a path, or None if the plan has none."""
        return self._rows.get(path)

    def apply(self, event: RunEvent) -> None:
        """Apply one event."""
        match event:
            case RunStarted():
                self.started = event
                self.roots = [self._grow(node, 0) for node in event.tree]
            case ContainerChanged():
                self.container = event
                self.waiting_for = ""
            case EngineProgress():
                self.waiting_for = event.text
            case LogWritten():
                self._log(event)
            case RunEnded():
                self.ended = event
            case StepStarted() | StepProgress() | StepEnded():
                self._step(event)
            case _:
                pass  # engine calls are not part of the tree

    def failing(self) -> Row | None:
        """The step where the failure began: the first failed step whose failure no parent ignored."""
        return min(self.failures(), key=lambda row: row.ended_ns, default=None)

    def failures(self) -> list[Row]:
        """The steps that failed by themselves and whose failure no parent ignored."""
        return [leaf for root in self.roots for leaf in _failed_leaves(root)]

    def _grow(self, node: Node, depth: int) -> Row:
        row = self._rows[node.path] = Row(node=node, depth=depth)
        row.children = [self._grow(child, depth + 1) for child in node.children]
        return row

    def _step(self, event: StepStarted | StepProgress | StepEnded) -> None:
        row = self._rows.get(event.path)
        if row is None:  # a step of the cell: a hook, a proxy
            row = self._grow(Node(path=event.path, kind=event.path.rpartition("/")[2]), 0)
            self.roots.append(row)
        if isinstance(event, StepStarted):
            self.waiting_for = ""
        row.take(event)

    def _log(self, event: LogWritten) -> None:
        """Assign a line to the running step of its source, the latest if there are several."""
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
