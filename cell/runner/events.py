"""Typed events of a run, and their distribution to the views.

Step events come unchanged from the executor; all others are the run's. Times are ns since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cell.story.plan import Node
from executor.logs.api import LogLine
from executor.steps.trace import StepEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The workload is valid and starts. kind: ``action``, ``task`` or ``lrp``. tree: its steps."""

    time_ns: int
    guid: str
    kind: str
    name: str
    root_fs: str
    tree: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerChanged:
    """The container changed its state. address: of the container. ports: (host port, container port)."""

    time_ns: int
    guid: str
    state: str
    address: str = ""
    ports: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProgress:
    """The engine started a long operation, such as an image pull; described in words."""

    time_ns: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCalled:
    """A call to the engine ended. call: its name. error: its text, empty on success."""

    time_ns: int
    seconds: float
    call: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A problem without effect on the result of the run."""

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
    """The run has ended and is cleaned up. exit_code: see ``cell run --help``. path: the failing step's.

    reason: empty on success. cause: details behind the reason, if any. kept: whether the container remains.
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
    | EngineProgress
    | EngineCalled
    | Warned
    | LogWritten
    | StepEvent
    | ResultRead
    | RunEnded
)


class View(Protocol):
    """Shows or stores events. Neither call may block for long."""

    def take(self, event: RunEvent) -> None: ...

    def close(self) -> None:
        """End of the events."""
        ...


class EventRecorder:
    """Passes events to all views in their order.

    The executor writes to it as well: it is a step recorder and a sink of log lines.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self._views = tuple(views)

    def record(self, event: RunEvent) -> None:
        for view in self._views:
            view.take(event)

    def emit(self, line: LogLine) -> None:
        self.record(LogWritten(line=line))

    def close(self) -> list[str]:
        """Close all views; returns the outputs that failed, with the reasons."""
        problems = []
        for view in self._views:
            try:
                view.close()
            except OSError as error:
                problems.append(str(error))
        return problems
