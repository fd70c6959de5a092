"""The phases of a container's life: interruptible work, one task at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TypeVar

from executor.containers.destruction import error_of

log = logging.getLogger(__name__)

T = TypeVar("T")


class Phase:
    """The present phase of one container. A container is interrupted once, whatever its phase is."""

    def __init__(self, guid: str) -> None:
        self._guid = guid
        self._task: asyncio.Task[object] | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """Cancel the present phase; without effect before the first one, and after the first call."""
        if self._task is not None and not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    async def run(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run ``work`` as the next phase; returns its task once it is done.

        A cancellation of the caller interrupts the phase and awaits its end.
        """
        task = asyncio.create_task(work)
        self._task = task
        cancelled = False
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                cancelled = True
                self.interrupt()
        if cancelled:
            data = {"guid": self._guid, "error": str(error_of(task))}
            log.info("left-container-behind", extra={"data": data})
            raise asyncio.CancelledError
        return task
