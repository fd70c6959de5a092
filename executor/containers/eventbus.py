"""Container events: fan-out from the store to the subscribers.

Each subscriber has an unbounded queue: a dropped event would leave the control plane with a wrong state until
its next bulk pass, and events are small and few.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from executor.model import ContainerEvent

_Queue = asyncio.Queue[ContainerEvent | None]


class EventBus:
    """Fans out events. ``None`` in a queue marks its end."""

    def __init__(self) -> None:
        self._queues: set[_Queue] = set()
        self._closed = False

    def publish(self, event: ContainerEvent) -> None:
        for queue in self._queues:
            queue.put_nowait(event)

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[ContainerEvent]]:
        """Subscribe to events published from now on, until the bus is closed."""
        queue: _Queue = asyncio.Queue()
        if self._closed:
            queue.put_nowait(None)
        self._queues.add(queue)
        try:
            yield _drain(queue)
        finally:
            self._queues.discard(queue)

    def close(self) -> None:
        """End every subscription after its queued events have been read."""
        self._closed = True
        for queue in self._queues:
            queue.put_nowait(None)


async def _drain(queue: _Queue) -> AsyncIterator[ContainerEvent]:
    while (event := await queue.get()) is not None:
        yield event
