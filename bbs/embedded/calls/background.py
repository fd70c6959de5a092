"""Background calls: auctions, stops, updates, completion callbacks.

Requests start these calls and do not wait for them. Convergence repeats calls that fail, so their failures
are only logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Background:
    """Starts calls as tasks of the service's task group."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    def start(self, name: str, call: Callable[[], Awaitable[None]]) -> None:
        """Start a call. name: its name in the log, such as ``stop-lrp``."""
        task = self._tasks.create_task(_logged(name, call), name=name)
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


async def _logged(name: str, call: Callable[[], Awaitable[None]]) -> None:
    try:
        await call()
    except Exception:
        logger.exception("failed-to-%s", name)
