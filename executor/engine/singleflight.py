"""Single running: concurrent callers with the same key share one job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.shielded import settle

K = TypeVar("K")
V = TypeVar("V")

Listener = Callable[[str], None]


@dataclass(slots=True)
class _Job(Generic[V]):
    task: asyncio.Task[V]
    callers: int = 0
    listeners: list[Listener] = field(default_factory=list)


class SingleFlight(Generic[K, V]):
    """Runs one job per key at a time. A job is cancelled with its last caller."""

    def __init__(self) -> None:
        self._jobs: dict[K, _Job[V]] = {}

    async def run(self, key: K, job: Callable[[Listener], Awaitable[V]], listener: Listener) -> V:
        """The result of ``job``, started or joined; ``listener`` gets the job's messages from then on."""
        running = self._jobs.get(key)
        if running is None:
            listeners: list[Listener] = []

            def report_to_all(text: str) -> None:
                for listen in tuple(listeners):
                    listen(text)

            async def run_job() -> V:
                return await job(report_to_all)

            running = _Job(asyncio.get_running_loop().create_task(run_job()), listeners=listeners)
            self._jobs[key] = running
        running.listeners.append(listener)
        running.callers += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.callers -= 1
            running.listeners.remove(listener)
            if running.task.done() or not running.callers:
                if self._jobs.get(key) is running:
                    del self._jobs[key]
                if not running.task.done():
                    running.task.cancel()
                    await settle(running.task)
