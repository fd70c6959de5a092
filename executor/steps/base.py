"""What a step is, and how steps fail.

A step is one coroutine, ``run()``: returning is success, raising :class:`StepError` is failure, and
cancelling the task that runs it is the interrupt. A step sets ``ready`` once, when the spec says so.
A step that was interrupted ends by raising: ``asyncio.CancelledError`` when it simply stopped, a
:class:`StepError` when there is more to say (a process that would not die).
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Step(Protocol):
    """One node of a step tree."""

    @property
    def ready(self) -> asyncio.Event:
        """Set once, never cleared."""
        ...

    async def run(self) -> None: ...


class StepError(Exception):
    """A step failed. ``str()`` is the text peers see.

    hidden: left out when several errors are combined.
    emittable: carries a message meant for the app's owner (emit-progress and timeout show it).
    """

    hidden = False
    emittable = False


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
