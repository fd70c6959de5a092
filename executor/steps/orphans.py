"""Orphans: keeps a parent for tasks that outlive their step."""

from __future__ import annotations

import asyncio
import logging

from executor.steps.base import StepCancelled, failure_of, outlast

logger = logging.getLogger(__name__)


class Orphans:
    """Owns the tasks that timed and download steps abandon, until the container is destroyed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Take over the task; its failure is logged."""
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def settle(self) -> None:
        """Cancel the remaining tasks and wait for them; ignore further cancellation."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await outlast(*tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = failure_of(task)
        if error is not None and not isinstance(error, StepCancelled):
            logger.info("leftover-step.failed", extra={"data": {"error": str(error)}})
