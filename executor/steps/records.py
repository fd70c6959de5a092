"""Records of steps, and their storage."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from bbs.models.meta import Int64
from executor.steps.base import StepError
from executor.steps.trace import Facts, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What is recorded about a step. The executor's codec gives its stored form.

    begun, ended: positions among the container's events, from 1; 0: not yet, or without a position.
    at_ns: monotonic time of the beginning.
    ready: whether the step is ready, the check passed, or the instance is routable.
    text, emittable, hidden, failed_path: of the error.
    """

    begun: Int64 = 0
    ended: Int64 = 0
    at_ns: Int64 = 0
    ready: bool = False
    outcome: Outcome = Outcome.SUCCEEDED
    text: str = ""
    emittable: bool = False
    hidden: bool = False
    failed_path: str = ""
    exit_status: Int64 | None = None
    transferred_bytes: Int64 | None = None
    artifact: str = ""

    @property
    def at(self) -> float:
        """Monotonic s of the beginning."""
        return self.at_ns / 1e9

    def result(self) -> BaseException | None:
        """The error with which the step ended; None for success."""
        if self.outcome is Outcome.SUCCEEDED:
            return None
        if self.outcome is Outcome.CANCELLED:
            return asyncio.CancelledError()
        return RecordedError(self)

    def fill_in(self, facts: Facts) -> None:
        """Fill in the recorded facts."""
        facts.exit_status = self.exit_status
        facts.transferred_bytes = self.transferred_bytes
        facts.artifact = self.artifact


class RecordedError(StepError):
    """The error of a step that failed under a previous agent process."""

    def __init__(self, record: StepRecord) -> None:
        super().__init__(record.text)
        self.emittable = record.emittable
        self.hidden = record.hidden
        self.path = record.failed_path


class StepStore(Protocol):
    """Stores the records of one container, in the order of the calls."""

    async def write(self, path: str, record: StepRecord) -> None:
        """Store before an effect. Raises JournalError: the effect must not happen."""
        ...

    async def record(self, path: str, record: StepRecord) -> None:
        """Store after an effect. A record that cannot be stored is kept and retried."""
        ...

    def post(self, path: str, record: StepRecord) -> None:
        """Like :meth:`record`, without waiting."""
        ...


class NoStore:
    """Stores nothing: for containers that end with the agent, and for probes."""

    async def write(self, path: str, record: StepRecord) -> None:
        """Do nothing."""

    async def record(self, path: str, record: StepRecord) -> None:
        """Do nothing."""

    def post(self, path: str, record: StepRecord) -> None:
        """Do nothing."""


def failure(error: StepError) -> StepRecord:
    """The record of a failed step, without positions."""
    return StepRecord(
        outcome=Outcome.FAILED,
        text=str(error),
        emittable=error.emittable,
        hidden=error.hidden,
        failed_path=error.path,
    )


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
