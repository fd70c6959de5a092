"""How the end of a process group becomes the container's result. Pure."""

from __future__ import annotations

import asyncio

from executor.containers.machine import Complete
from executor.steps.base import (
    ExceededGracefulShutdownInterval,
    ExitTimeout,
    StepCancelled,
    foreseen,
    told_text,
)
from executor.steps.combine import leaves

_INTERRUPTS = frozenset({"", str(StepCancelled())})
"""Texts of steps that were stopped and have nothing else to say."""


def completion(error: BaseException | None) -> Complete:
    """The end for ``error``, or for success.

    A step that simply stopped when interrupted is a cancelled one. An error without text consists of
    hidden errors only, which is no failure.
    """
    if isinstance(error, asyncio.CancelledError):
        error = StepCancelled()
    reason = "" if error is None else told_text(error)
    return Complete(failed=bool(reason), failure_reason=reason)


def is_interrupt(error: BaseException) -> bool:
    """Whether the error says no more than that the container was asked to stop."""
    return isinstance(error, asyncio.CancelledError) or (foreseen(error) and str(error) in _INTERRUPTS)


def exited_on_timeout(error: BaseException | None) -> bool:
    """Whether this error, or one it was made of, tells of a process that would not end in time."""
    if error is None:
        return False
    return any(isinstance(leaf, ExceededGracefulShutdownInterval | ExitTimeout) for leaf in leaves(error))
