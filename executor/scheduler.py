"""Scheduler of the executor: its tasks, the limits of concurrent work, and periodic jobs.

A single failure ends neither a periodic job nor a long-running part of the cell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

from common.liveness import Liveness
from common.logsubject import about
from executor.config import ExecutorConfig
from executor.containment import Containment
from executor.errors import ExecutorError
from executor.places import Places

log = logging.getLogger(__name__)

FAILED_PASSES_MOST = 100
"""Maximum number of unexpected failures of one periodic job in a row, at least three minutes of passes.

The cell then exits: a restart may help, and without the job it would silently break its promises.
"""

PASS_LIMIT_S = 900.0
"""Longest time of a pass, far above the time limits of its engine calls."""

PART_PAUSE_S = 1.0
"""Pause before a failed part of the cell restarts."""


class Scheduler:
    """Owns the executor's tasks and the limits of its concurrent work."""

    def __init__(self, config: ExecutorConfig, containment: Containment) -> None:
        self.creations = Places(config.create_work_pool_size)
        self.deletions = Places(config.delete_work_pool_size)
        self.reads = Places(config.read_work_pool_size)
        self._containment = containment
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    def resize(self, *, creations: int, deletions: int, reads: int) -> None:
        """Change the limits."""
        self.creations.resize(creations)
        self.deletions.resize(deletions)
        self.reads.resize(reads)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run tasks during the body and cancel them at its end. A failed task cancels the body."""
        async with self._group:
            yield
            # An error of the body is raised at the yield, and the group then cancels its tasks.
            for task in self._tasks:
                task.cancel()

    async def cancel(self) -> None:
        """Cancel all tasks, and those that they start meanwhile, and wait for their ends."""
        while tasks := set(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

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
        with about(guid), self._containment.of(guid, "work"):
            await work()


async def every(
    interval_s: float, job: Callable[[], Coroutine[object, object, None]], liveness: Liveness
) -> None:
    """Run the job periodically; the interval starts at the end of the previous pass. liveness: receives the
    turns.

    A failed pass is logged, with a trace for the first unexpected failure in a row. Raises ExecutorError
    after FAILED_PASSES_MOST unexpected failures in a row.
    """
    name, unforeseen = job.__name__.strip("_"), 0
    with liveness.loop(name, interval_s + PASS_LIMIT_S) as turned:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await job()
            except ExecutorError as error:
                log.error("upkeep-failed", extra={"data": {"job": name, "error": str(error)}})
            except Exception as error:  # the next pass may succeed
                unforeseen += 1
                data = {"job": name, "error": str(error), "in-a-row": unforeseen}
                trace = error if unforeseen == 1 else None
                log.error("upkeep-failed", exc_info=trace, extra={"data": data})
                if unforeseen >= FAILED_PASSES_MOST:
                    raise ExecutorError(f"{name} failed {unforeseen} times in a row: {error}") from error
            else:
                unforeseen = 0
            turned()


async def lasting(run: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a part of the cell until it returns; a failed one is logged and restarted."""
    while True:
        try:
            return await run()
        except Exception as error:  # the part is restarted
            data = {"part": type(getattr(run, "__self__", run)).__name__, "error": str(error)}
            log.error("part-failed", exc_info=error, extra={"data": data})
        await asyncio.sleep(PART_PAUSE_S)
