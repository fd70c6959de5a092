"""Definition of a step, its interruption and its errors.

A step is one coroutine, ``run()``: returning is success, raising is failure, and cancelling its task is the
interrupt. ``ready`` is set once, as the spec defines for the step; a wrapper shares the event of its child. A
step runs at most once.

The interrupt, in asyncio's terms:

- The interrupt is ``task.cancel()``. asyncio raises ``CancelledError`` once, at the current await. The task
  keeps the count (``task.cancelling()``). A step may swallow the exception to end in its own way (terminate a
  process, hide an error). Its caller therefore checks :func:`interrupted` after awaiting a child in the same
  task, before it starts anything new.
- The shutdown of a step ignores further cancellation: after the first interrupt it waits for its tasks with
  :func:`outlast`.
- A step that interrupts a child by itself (a timer, a sibling) runs the child in a task, waits with
  ``asyncio.wait`` and reads the result with :func:`failure_of`. The child's cancellation thus never looks
  like the step's own.
- An interrupted step ends with ``CancelledError`` if it simply stopped; its text among combined errors is
  ``cancelled`` (:class:`StepCancelled`). It ends with a :class:`StepError` if it has more to report, or with
  success where the spec says so (try, timed, background).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from executor.containment import INTERNAL_ERROR
from executor.errors import ExecutorError


class Step(Protocol):
    """One node of a step tree."""

    @property
    def ready(self) -> asyncio.Event:
        """Set once and never cleared; never set before ``run`` begins."""
        ...

    async def run(self) -> None:
        """Do the work. Raises StepError, or CancelledError when interrupted."""
        ...


class StepError(Exception):
    """A step failed. ``str()`` is the text for peers.

    hidden: omitted from combined errors. emittable: the message is for the app's owner; emit-progress and
    timeout show it. path: the failed step, e.g. ``action/codependent[0]/run``. guid: its container. Both are
    empty outside of a tree. ``__cause__`` holds the cause, if any.
    """

    hidden = False
    emittable = False
    path = ""
    guid = ""


class EmittableError(StepError):
    """A failure with a message for the app's owner."""

    emittable = True


class StepCancelled(StepError):
    """The step was interrupted."""

    hidden = True

    def __init__(self) -> None:
        super().__init__("cancelled")


class ExceededGracefulShutdownInterval(StepError):
    """The process ignored TERM and was killed."""

    hidden = True

    def __init__(self) -> None:
        super().__init__("exceeded graceful shutdown interval")


class ExitTimeout(StepError):
    """The process did not exit in time after KILL."""

    def __init__(self) -> None:
        super().__init__("process did not exit")


class CodependentExited(StepError):
    """A codependent child exited with success, although it should keep running."""

    def __init__(self) -> None:
        super().__init__("Codependent step exited")


def is_expected(error: BaseException) -> bool:
    """Whether the error is of an expected kind, whose text peers may see."""
    return isinstance(error, StepError | ExecutorError | asyncio.CancelledError)


def public_text(error: BaseException) -> str:
    """The text of an error for peers and the app's owner."""
    return str(error) if is_expected(error) else INTERNAL_ERROR


def interrupted() -> bool:
    """Whether the running step was interrupted, even if the exception was swallowed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def outlast(*tasks: asyncio.Task[object]) -> None:
    """Wait until the tasks end; ignore further cancellation. Their errors stay in the tasks."""
    while pending := {task for task in tasks if not task.done()}:
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pending)


def failure_of(task: asyncio.Task[object]) -> BaseException | None:
    """The error of a finished child; :class:`StepCancelled` for a cancelled one; None for success."""
    if task.cancelled():
        return StepCancelled()
    return task.exception()


async def outcome_of(step: Step) -> StepError | None:
    """Run a phase of a longer step and return its error.

    If the longer step was interrupted, raise CancelledError regardless of the phase's result.
    """
    error = None
    try:
        await step.run()
    except StepError as failure:
        error = failure
    if interrupted():
        raise asyncio.CancelledError
    return error
