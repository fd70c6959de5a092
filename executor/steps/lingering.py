"""Lingering tasks: they outlive their step until the container is destroyed; the timed step of the setup."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from executor.steps.base import Step, StepCancelled, failure_of, outlast

logger = logging.getLogger(__name__)


class LingeringTasks:
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


class Timed:
    """Reports success or failure of the child to ``on_end``.

    An interrupt is forwarded to the child, and the step succeeds at once and reports success. The child
    becomes a lingering task.
    """

    def __init__(self, step: Step, on_end: Callable[[bool], None], lingering: LingeringTasks) -> None:
        self._step = step
        self._on_end = on_end
        self._lingering = lingering
        self.ready = step.ready

    async def run(self) -> None:
        child = asyncio.create_task(self._step.run())
        try:
            await asyncio.wait({child})
        except asyncio.CancelledError:
            child.cancel()
            self._lingering.adopt(child)
            self._on_end(True)
            return
        self._on_end(child.exception() is None)
        child.result()
