"""Scheduler of the executor: its tasks, and how many containers it creates, deletes and reads at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

from executor.config import ExecutorConfig
from executor.containment import Containment


class Scheduler:
    """Owns the executor's tasks and the limits of its concurrent work."""

    def __init__(self, config: ExecutorConfig, containment: Containment) -> None:
        self.creations = asyncio.Semaphore(config.create_work_pool_size)
        self.deletions = asyncio.Semaphore(config.delete_work_pool_size)
        self.reads = asyncio.Semaphore(config.read_work_pool_size)
        self._containment = containment
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run tasks during the body and cancel them at its end. A failed task cancels the body."""
        async with self._group:
            yield
            # An error of the body is raised at the yield, and the group then cancels its tasks.
            for task in self._tasks:
                task.cancel()

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a task of the executor; its failure ends the executor."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn_for(self, guid: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Start a task for one container; its failures are contained."""
        return self.spawn(self.contained(guid, work))

    async def contained(self, guid: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work for one container; its failures are contained."""
        with self._containment.of(guid, "work"):
            await work()
