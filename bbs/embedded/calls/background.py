"""Calls that a request starts and does not wait for: auctions, stops, updates, cancellations, callbacks.

Convergence repeats calls that fail, so their failures are only logged. The number of calls at the same time
is bounded, in total and for each destination: a thousand stops open no thousand connections, and a rep that
hangs delays the calls of no other rep.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

logger = logging.getLogger(__name__)

CALLS: Final = 256
"""Most calls at the same time."""

CALLS_PER_DESTINATION: Final = 16
"""Most calls to one destination at the same time."""


@dataclass(slots=True)
class _Destination:
    """The slots of one destination. users: its calls, running or waiting."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CALLS_PER_DESTINATION))
    users: int = 0


class Background:
    """Starts calls as tasks of the service's task group."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CALLS)
        self._destinations: dict[str, _Destination] = {}

    def start(self, name: str, call: Callable[[], Awaitable[None]], destination: str = "") -> None:
        """Start a call. name: its name in the log, such as ``stop-lrp``.

        destination: the URL of the rep; without one, the call waits for no other.
        """
        task = self._tasks.create_task(self._run(name, call, destination), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settled(self) -> None:
        """Wait until no call is running, including calls that running calls start."""
        while self._running:
            await asyncio.wait(self._running)

    def close(self) -> None:
        """Cancel the running calls."""
        for task in self._running:
            task.cancel()

    async def _run(self, name: str, call: Callable[[], Awaitable[None]], destination: str) -> None:
        try:
            if destination:
                async with self._slot(destination), self._slots:
                    await call()
            else:
                await call()
        except Exception:  # no caller waits for the call; others go on
            logger.exception("failed-to-%s", name)

    @asynccontextmanager
    async def _slot(self, destination: str) -> AsyncIterator[None]:
        found = self._destinations.setdefault(destination, _Destination())
        found.users += 1
        try:
            async with found.slots:
                yield
        finally:
            found.users -= 1
            if not found.users:
                del self._destinations[destination]
