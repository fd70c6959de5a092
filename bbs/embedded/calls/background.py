"""Calls that a request causes but does not wait for: auctions, stops, updates, completion callbacks.

They are only a head start: what one of them fails to do, convergence does again. So their failure is
logged and goes no further.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Background:
    """Starts calls as children of the service's task group."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    def start(self, name: str, call: Callable[[], Awaitable[None]]) -> None:
        """Begin a call. name: what the log calls it, as ``stop-lrp``."""
        task = self._tasks.create_task(_logged(name, call), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settled(self) -> None:
        """Wait until nothing is running any more, what running calls start included."""
        while self._running:
            await asyncio.wait(self._running)

    def close(self) -> None:
        """Give up what is still running."""
        for task in self._running:
            task.cancel()


async def _logged(name: str, call: Callable[[], Awaitable[None]]) -> None:
    try:
        await call()
    except Exception:
        logger.exception("failed-to-%s", name)
