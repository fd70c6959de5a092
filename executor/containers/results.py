"""How the end of a process group becomes the container's result. Pure."""

from __future__ import annotations

import asyncio

from executor.containers.machine import Complete
from executor.steps.base import ExceededGracefulShutdownInterval, ExitTimeout, StepCancelled
from executor.steps.combine import leaves


def completion(error: BaseException | None) -> Complete:
    """The end for ``error``, or for success.

    A step that simply stopped when interrupted is a cancelled one. An error without text consists of
    hidden errors only, which is no failure.
    """
    if isinstance(error, asyncio.CancelledError):
        error = StepCancelled()
    reason = "" if error is None else str(error)
    return Complete(failed=bool(reason), failure_reason=reason)


def exited_on_timeout(error: BaseException | None) -> bool:
    """Whether this error, or one it was made of, tells of a process that would not end in time."""
    if error is None:
        return False
    return any(isinstance(leaf, ExceededGracefulShutdownInterval | ExitTimeout) for leaf in leaves(error))
