"""What a step is, how it is interrupted, and how it fails.

A step is one coroutine, ``run()``: returning is success, raising is failure, and cancelling the task
that runs it is the interrupt. ``ready`` is set once, when the spec says so; a step that wraps another
shares its event. A step runs at most once.

The interrupt, in asyncio's terms:

- It is ``task.cancel()``, and asyncio raises ``CancelledError`` once, at the await the step is in. The
  task keeps the count (``task.cancelling()``), so a step that swallowed the exception because it has an
  ending of its own (a process to terminate, an error to hide) still tells its caller: whoever awaits a
  child in the same task asks :func:`interrupted` before going on to anything new.
- An ending is deaf: from the first interrupt on, a step waits for what it owns with :func:`outlast`,
  which hears no further one.
- A step that must interrupt its child on its own account (a timer, a sibling) gives it a task, waits
  with ``asyncio.wait`` and reads the result with :func:`failure_of`; so the child's cancellation never
  looks like its own.
- An interrupted step ends with ``CancelledError`` when it simply stopped (its text among combined errors
  is ``cancelled``, :class:`StepCancelled`), with a :class:`StepError` when there is more to say, or with
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
        """Set once, never cleared; not before ``run`` began, also where a step is ready at once."""
        ...

    async def run(self) -> None:
        """Do the work. Raises StepError, or CancelledError when interrupted."""
        ...


class StepError(Exception):
    """A step failed. ``str()`` is the text peers see.

    hidden: left out when several errors are combined.
    emittable: carries a message meant for the app's owner (emit-progress and timeout show it).
    path: the step that failed, e.g. ``action/codependent[0]/run``, and guid: its container's; both empty
    outside of a tree. The cause, where there is one, is ``__cause__``.
    """

    hidden = False
    emittable = False
    path = ""
    guid = ""


class EmittableError(StepError):
    """A failure with a message for the app's owner."""

    emittable = True


class StepCancelled(StepError):
    """Interrupted."""

    hidden = True

    def __init__(self) -> None:
        super().__init__("cancelled")


class ExceededGracefulShutdownInterval(StepError):
    """The process ignored TERM and was killed."""

    hidden = True

    def __init__(self) -> None:
        super().__init__("exceeded graceful shutdown interval")


class ExitTimeout(StepError):
    """The process survived KILL for longer than we wait."""

    def __init__(self) -> None:
        super().__init__("process did not exit")


class CodependentExited(StepError):
    """A codependent sibling ended well, which is not what it is for."""

    def __init__(self) -> None:
        super().__init__("Codependent step exited")


def foreseen(error: BaseException) -> bool:
    """Whether the error is of a kind whose text is meant for others."""
    return isinstance(error, StepError | ExecutorError | asyncio.CancelledError)


def told_text(error: BaseException) -> str:
    """What peers and the app's owner see of an error."""
    return str(error) if foreseen(error) else INTERNAL_ERROR


def interrupted() -> bool:
    """Whether the running step was asked to stop, however it or a child took it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def outlast(*tasks: asyncio.Task[object]) -> None:
    """Wait for the tasks to end, deaf to interrupts. Their errors stay in them."""
    while pending := {task for task in tasks if not task.done()}:
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pending)


def failure_of(task: asyncio.Task[object]) -> BaseException | None:
    """The error a finished child ended with; a cancelled one gives :class:`StepCancelled`."""
    if task.cancelled():
        return StepCancelled()
    return task.exception()


async def outcome_of(step: Step) -> StepError | None:
    """Run a phase of a longer step; how it failed. Interrupted, the longer step is cancelled, whatever the
    phase says."""
    error = None
    try:
        await step.run()
    except StepError as failure:
        error = failure
    if interrupted():
        raise asyncio.CancelledError
    return error
