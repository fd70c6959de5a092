"""The story of a container's steps: small typed events about where each begins and how it ends.

A step's path names its place in the tree: ``action/codependent[0]/run`` is the run action that is the
first child of the codependent action. The recorder must be cheap; it is called in the event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from executor.logs.clock import Clock
from executor.steps.base import Step, StepError


class Outcome(Enum):
    """How a step ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, kw_only=True)
class Facts:
    """What a step found out about itself, filled in while it runs.

    exit_status: of its process. transferred_bytes: down or up. artifact: what was transferred.
    """

    pid: int | None = None
    exit_status: int | None = None
    transferred_bytes: int | None = None
    artifact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step began; time_ns: ns since the epoch."""

    path: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A step ended; seconds: since it began. reason: text of the error, empty when it succeeded."""

    path: str
    time_ns: int
    seconds: float
    outcome: Outcome
    reason: str = ""
    facts: Facts


StepEvent = StepStarted | StepEnded


class StoryRecorder(Protocol):
    """Keeps or passes on what happens. Must not block and must not raise."""

    def record(self, event: StepEvent) -> None: ...


class NoStory:
    """Keeps nothing."""

    def record(self, event: StepEvent) -> None:
        """Nobody asked."""


class Told:
    """A step whose beginning and end are recorded, and whose error knows where it comes from."""

    def __init__(self, step: Step, path: str, recorder: StoryRecorder, clock: Clock, facts: Facts) -> None:
        self._step = step
        self._path = path
        self._recorder = recorder
        self._clock = clock
        self._facts = facts
        self.ready = step.ready

    async def run(self) -> None:
        begun = self._clock.monotonic()
        self._recorder.record(StepStarted(path=self._path, time_ns=self._clock.time_ns()))
        try:
            await self._step.run()
        except asyncio.CancelledError:
            self._end(begun, Outcome.CANCELLED, "cancelled")
            raise
        except StepError as error:
            error.path = error.path or self._path
            self._end(begun, Outcome.FAILED, str(error))
            raise
        except BaseException as error:
            self._end(begun, Outcome.FAILED, repr(error))
            raise
        self._end(begun, Outcome.SUCCEEDED, "")

    def _end(self, begun: float, outcome: Outcome, reason: str) -> None:
        self._recorder.record(
            StepEnded(
                path=self._path,
                time_ns=self._clock.time_ns(),
                seconds=self._clock.monotonic() - begun,
                outcome=outcome,
                reason=reason,
                facts=self._facts,
            )
        )
