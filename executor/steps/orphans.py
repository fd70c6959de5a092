"""What a step left running when it ended: every task keeps a parent."""

from __future__ import annotations

import asyncio
import logging

from executor.steps.base import StepCancelled, failure_of, outlast

logger = logging.getLogger(__name__)


class Leftovers:
    """Owns the tasks that timed, background and download steps abandon, until the container goes."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Become the task's parent; its failure is logged."""
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def settle(self) -> None:
        """Interrupt what is left and wait for it, deaf to interrupts."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await outlast(*tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = failure_of(task)
        if error is not None and not isinstance(error, StepCancelled):
            logger.info("leftover-step.failed", extra={"data": {"error": str(error)}})
