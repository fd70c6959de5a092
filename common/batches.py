"""A thread that takes the waiting work together, such as the writes of a database that commits in groups."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from common.shielded import finish

T = TypeVar("T")


class BatchThread(Generic[T]):
    """A daemon thread and the queue of its work. most: the largest number of items in a batch."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._items: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def open(self) -> bool:
        """Whether the thread takes work."""
        return self._thread is not None

    def start(self, target: Callable[[], None]) -> None:
        """Start the thread. target: its main loop, over :meth:`batches`."""
        self._thread = threading.Thread(target=target, name=self._name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Add an item to the queue."""
        self._items.put(item)

    async def close(self, limit_s: float | None = None) -> None:
        """Take no more work, and wait for the end of the thread, even if cancelled meanwhile."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._items.put(None)
            await finish(asyncio.to_thread(thread.join, limit_s))

    def batches(self, timeout_s: Callable[[], float | None] = lambda: None) -> Iterator[list[T]]:
        """In the thread: the items that wait, in order, until it is closed.

        A batch is empty if no item came within ``timeout_s``; the last one may be empty, too.
        """
        more = True
        while more:
            batch: list[T] = []
            try:
                item = self._items.get(timeout=timeout_s())
                while item is not None and len(batch) < self._most - 1:
                    batch.append(item)
                    item = self._items.get_nowait()
            except queue.Empty:
                pass
            else:
                if item is None:
                    more = False
                else:
                    batch.append(item)
            yield batch
