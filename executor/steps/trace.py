"""Step trace: the nodes of a step tree, and typed events for the start and end of their steps.

A node's path is the position of its action in the tree: ``action/codependent[0]/run`` is the run action that
is the first child of the codependent action. A path begins with the part of the container (``setup``,
``sidecar[0]`` and others, see :mod:`executor.steps.tree`). Each level adds the kind of the action, with the
index of the child if the kind may have several. So a tree has no path twice, and the same run info gives the
same paths again. The probes of a monitor action are no nodes: each is built anew and leaves no events.

The recorder must be cheap: it runs in the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from executor.clock import Clock
from executor.steps.base import Step, StepError, public_text


class Outcome(Enum):
    """Result of a step."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, kw_only=True)
class Facts:
    """Facts about a step, collected while it runs.

    exit_status: of its process. transferred_bytes: downloaded or uploaded. artifact: name of the transferred
    artifact.
    """

    pid: int | None = None
    exit_status: int | None = None
    transferred_bytes: int | None = None
    artifact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step started. time_ns: ns since the epoch."""

    path: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A step ended.

    seconds: duration. reason: text of the error; empty on success. cause: text of the underlying error, not
    shown to the app's owner; empty if none.
    """

    path: str
    time_ns: int
    seconds: float
    outcome: Outcome
    reason: str = ""
    cause: str = ""
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """Progress of a transfer. total_bytes: None if unknown."""

    path: str
    time_ns: int
    transferred_bytes: int
    total_bytes: int | None


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the step tree: its path and the facts about its step."""

    path: str
    facts: Facts = field(default_factory=Facts)


StepEvent = StepStarted | StepProgress | StepEnded


class TraceRecorder(Protocol):
    """Stores or forwards step events. Must not block and must not raise."""

    def record(self, event: StepEvent) -> None: ...


class NoTrace:
    """Discards all events."""

    def record(self, event: StepEvent) -> None:
        """Discard the event."""


PROGRESS_INTERVAL_S = 0.1
"""Minimum interval between two progress events of a transfer."""


def transfer_progress(path: str, recorder: TraceRecorder, clock: Clock) -> Callable[[int, int | None], None]:
    """Progress callback of a transfer, for the bytes so far and the total.

    It records an event at intervals.
    """
    last = clock.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal last
        now = clock.monotonic()
        if now - last >= PROGRESS_INTERVAL_S or done == total:
            last = now
            recorder.record(
                StepProgress(path=path, time_ns=clock.time_ns(), transferred_bytes=done, total_bytes=total)
            )

    return report


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A step whose start and end are recorded, and whose error carries path and guid."""

    step: Step
    node: Node
    guid: str
    recorder: TraceRecorder
    clock: Clock

    @property
    def ready(self) -> asyncio.Event:
        return self.step.ready

    async def run(self) -> None:
        begun = self.clock.monotonic()
        self.recorder.record(StepStarted(path=self.node.path, time_ns=self.clock.time_ns()))
        try:
            await self.step.run()
        except asyncio.CancelledError:
            self._end(begun, Outcome.CANCELLED, "cancelled")
            raise
        except StepError as error:
            error.path = error.path or self.node.path
            error.guid = self.guid
            self._end(begun, Outcome.FAILED, str(error), _cause(error))
            raise
        except BaseException as error:
            self._end(begun, Outcome.FAILED, public_text(error))
            raise
        self._end(begun, Outcome.SUCCEEDED, "")

    def _end(self, begun: float, outcome: Outcome, reason: str, cause: str = "") -> None:
        self.recorder.record(
            StepEnded(
                path=self.node.path,
                time_ns=self.clock.time_ns(),
                seconds=self.clock.monotonic() - begun,
                outcome=outcome,
                reason=reason,
                cause="" if cause in reason else cause,
                facts=self.node.facts,
            )
        )


def _cause(error: StepError) -> str:
    """The text of the underlying error; empty if it is a step's error, which has its own events."""
    cause = error.__cause__
    return "" if cause is None or isinstance(cause, StepError) else str(cause)
