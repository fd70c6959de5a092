"""Progress of one step, updated by its events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from executor.steps.trace import Outcome, StepEnded, StepEvent, StepProgress, StepStarted


class State(Enum):
    """State of a step."""

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
class StepProgressed:
    """Current state of a step. started_ns, ended_ns: since the epoch. seconds: duration, after its end.

    transferred, total: bytes; total is None if unknown.
    """

    state: State = State.WAITING
    started_ns: int = 0
    ended_ns: int = 0
    seconds: float = 0.0
    transferred: int | None = None
    total: int | None = None
    exit_status: int | None = None
    reason: str = ""
    cause: str = ""

    def take(self, event: StepEvent) -> None:
        """Apply an event of the step."""
        match event:
            case StepStarted():
                self.state, self.started_ns = State.RUNNING, event.time_ns
            case StepProgress():
                self.transferred, self.total = event.transferred_bytes, event.total_bytes
            case StepEnded():
                self.state, self.ended_ns, self.seconds = _STATES[event.outcome], event.time_ns, event.seconds
                self.reason, self.cause = event.reason, event.cause
                self.exit_status = event.facts.exit_status
                if event.facts.transferred_bytes is not None:
                    self.transferred = event.facts.transferred_bytes

    def elapsed(self, now_ns: int) -> float:
        """Duration so far, or in total after the end, in seconds."""
        if self.state is State.RUNNING:
            return max(0.0, (now_ns - self.started_ns) / 1e9)
        return self.seconds
