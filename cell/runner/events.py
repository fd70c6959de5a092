"""What happens during a run, as small typed events, and how they reach the views.

Step events come from the executor as they are; the others are the run's own. Times are ns since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cell.runner.plan import Node
from executor.logs.api import LogLine
from executor.steps.trace import StepEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The workload is known and will be tried. kind: ``action``, ``task`` or ``lrp``. tree: its steps."""

    time_ns: int
    guid: str
    kind: str
    name: str
    root_fs: str
    tree: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerChanged:
    """The container is in another state. address: its own. ports: (host port, container port)."""

    time_ns: int
    guid: str
    state: str
    address: str = ""
    ports: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTold:
    """The engine is busy with something long, in words, such as pulling an image."""

    time_ns: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCalled:
    """A call to the engine ended. call: what was asked. error: its text, empty when it went well."""

    time_ns: int
    seconds: float
    call: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something is not as it should be, but does not decide how the run ends."""

    time_ns: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWritten:
    """A line of output."""

    line: LogLine


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRead:
    """The content of a task's result file."""

    time_ns: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """It is over and cleaned up. exit_code: see ``cell run --help``. path: the failing step's, if one failed.

    reason: empty on success. cause: what was behind the reason, where there is more to say. kept: whether the
    container was left behind.
    """

    time_ns: int
    seconds: float
    guid: str
    exit_code: int
    path: str = ""
    reason: str = ""
    cause: str = ""
    kept: bool = False


RunEvent = (
    RunStarted
    | ContainerChanged
    | EngineTold
    | EngineCalled
    | Warned
    | LogWritten
    | StepEvent
    | ResultRead
    | RunEnded
)


class View(Protocol):
    """Something that shows or keeps events. Neither call may block for long."""

    def take(self, event: RunEvent) -> None: ...

    def close(self) -> None:
        """No event will follow."""
        ...


class Story:
    """Passes events on to all views, in the order they happen.

    It is also what the executor writes to: a recorder of steps and a sink of log lines.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self._views = tuple(views)

    def record(self, event: RunEvent) -> None:
        for view in self._views:
            view.take(event)

    def emit(self, line: LogLine) -> None:
        self.record(LogWritten(line=line))

    def close(self) -> list[str]:
        """Close all views; answers what could not be written, and why."""
        problems = []
        for view in self._views:
            try:
                view.close()
            except OSError as error:
                problems.append(str(error))
        return problems
