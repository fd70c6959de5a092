"""The operation queue: at most one running and one waiting operation per guid; a newer one replaces it.

Different guids run in parallel without limit. It is safe to drop a waiting operation, because every
operation uses the container's state at run time.

:class:`Slots` is the rule, pure; :class:`OperationQueue` runs operations by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from common.logsubject import about
from rep.background import Background
from rep.reconcile.batch import Operation

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Slots(Generic[T]):
    """The running keys and the waiting item per key."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._waiting: dict[str, T] = {}

    def push(self, key: str, item: T) -> bool:
        """True: start the item now. False: it waits, and replaces an earlier waiting item."""
        if key in self._running:
            self._waiting[key] = item
            return False
        self._running.add(key)
        return True

    def finished(self, key: str) -> T | None:
        """The key's running item has ended; returns the item to start next."""
        if key in self._waiting:
            return self._waiting.pop(key)
        self._running.remove(key)
        return None

    @property
    def idle(self) -> bool:
        """Nothing runs, so nothing waits."""
        return not self._running


class OperationQueue:
    """Runs pushed operations inside :meth:`open`; leaving it cancels the running ones."""

    def __init__(self, execute: Callable[[Operation], Awaitable[None]]) -> None:
        self._execute = execute
        self._slots: Slots[Operation] = Slots()
        self._background = Background()
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self) -> AbstractAsyncContextManager[None]:
        """While open, operations run."""
        return self._background.open()

    def push(self, operation: Operation) -> None:
        """Run the operation, or queue it behind the running one. Raises RuntimeError when not open."""
        if not self._background.is_open:
            raise RuntimeError(f"operation for {operation.guid} pushed into a queue that is not open")
        if self._slots.push(operation.guid, operation):
            self._idle.clear()
            self._background.start(self._drain(operation), f"operation {operation.guid}")

    async def join(self) -> None:
        """Wait until nothing runs and nothing waits."""
        await self._idle.wait()

    async def _drain(self, first: Operation) -> None:
        operation: Operation | None = first
        while operation is not None:
            with about(operation.guid):
                try:
                    await self._execute(operation)
                except Exception:
                    # a failure for one guid must not end the others; the next bulk pass processes it again
                    logger.exception("operation-failed")
            operation = self._slots.finished(operation.guid)
        if self._slots.idle:
            self._idle.set()
