"""Conversion of the end of a process group into the container's result. Pure."""

from __future__ import annotations

import asyncio

from executor.containers.machine import Complete
from executor.steps.base import (
    ExceededGracefulShutdownInterval,
    ExitTimeout,
    StepCancelled,
    is_expected,
    public_text,
)
from executor.steps.children import leaves

_INTERRUPTS = frozenset({"", str(StepCancelled())})
"""Error texts of steps that were merely stopped."""


def completion(error: BaseException | None) -> Complete:
    """The completion for ``error``, or for success.

    A cancelled step counts as a :class:`StepCancelled`. An error without text holds only hidden errors and
    counts as success.
    """
    if isinstance(error, asyncio.CancelledError):
        error = StepCancelled()
    reason = "" if error is None else public_text(error)
    return Complete(failed=bool(reason), failure_reason=reason)


def is_interrupt(error: BaseException) -> bool:
    """Whether the error only means that the container was stopped."""
    return isinstance(error, asyncio.CancelledError) or (is_expected(error) and str(error) in _INTERRUPTS)


def exited_on_timeout(error: BaseException | None) -> bool:
    """Whether the error, or one of its parts, means that a process did not exit in time."""
    if error is None:
        return False
    return any(isinstance(leaf, ExceededGracefulShutdownInterval | ExitTimeout) for leaf in leaves(error))
