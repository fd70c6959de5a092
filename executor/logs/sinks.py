"""Log sinks that keep lines in memory or forward them to several sinks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from executor.logs.api import LineBatch, LogLine, LogSink, Stream, in_bulk

LOST_LINES = b"lines missing here: %d (they came faster than they were read)"
"""Payload that replaces lines which a slow subscriber lost."""


RING_BYTES = 512 << 10
"""Memory limit of a ring, with an overhead per line: a thousand lines of usual length."""

LINE_OVERHEAD_BYTES = 256
"""Approximate memory overhead per line."""


class _LastLines:
    """The newest lines, bounded in number and bytes. lost: number of older lines dropped."""

    def __init__(self, capacity: int, size_limit: int) -> None:
        self._capacity = capacity
        self._size_limit = size_limit
        self._size = 0
        self.lines: deque[LogLine] = deque()
        self.lost = 0

    def extend(self, batch: LineBatch) -> None:
        """Append the lines of a batch; only those that can stay are looked at."""
        last = batch.last(self._capacity)
        if len(last) < len(batch):
            self.lost += len(self.lines) + len(batch) - len(last)
            self.lines.clear()
            self._size = 0
        self.lines.extend(last.lines())
        self._size += sum(map(len, last.payloads)) + LINE_OVERHEAD_BYTES * len(last)
        while len(self.lines) > 1 and (len(self.lines) > self._capacity or self._size > self._size_limit):
            self.popleft()
            self.lost += 1

    def popleft(self) -> LogLine:
        line = self.lines.popleft()
        self._size -= len(line.payload) + LINE_OVERHEAD_BYTES
        return line


class RingSink:
    """The last ``capacity`` lines, of at most ``size_limit`` bytes, and subscriptions to new ones."""

    def __init__(self, capacity: int = 1000, size_limit: int = RING_BYTES) -> None:
        self._capacity = capacity
        self._size_limit = size_limit
        self._last = _LastLines(capacity, size_limit)
        self._subscribers: set[_Subscriber] = set()

    def emit(self, line: LogLine) -> None:
        self.emit_batch(LineBatch.of(line))

    def emit_batch(self, batch: LineBatch) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        self._last.extend(batch)
        for subscriber in self._subscribers:
            subscriber.push(batch)

    def lines(self) -> list[LogLine]:
        """The lines in the ring, oldest first."""
        return list(self._last.lines)

    @contextmanager
    def subscribe(self, *, replay: bool = False) -> Iterator[AsyncIterator[LogLine]]:
        """Lines from now on, or with ``replay`` from the oldest one in the ring.

        A subscriber slower than the ring loses its oldest unread lines. A line of the cell in their place
        says how many.
        """
        subscriber = _Subscriber(self._capacity, self._size_limit)
        for line in self._last.lines if replay else ():
            subscriber.push(LineBatch.of(line))
        self._subscribers.add(subscriber)
        try:
            yield subscriber.lines()
        finally:
            self._subscribers.discard(subscriber)


class _Subscriber:
    def __init__(self, capacity: int, size_limit: int) -> None:
        self._waiting = _LastLines(capacity, size_limit)
        self._filled = asyncio.Event()

    def push(self, batch: LineBatch) -> None:
        self._waiting.extend(batch)
        self._filled.set()

    async def lines(self) -> AsyncIterator[LogLine]:
        while True:
            await self._filled.wait()
            while self._waiting.lines:
                lost, self._waiting.lost = self._waiting.lost, 0
                line = self._waiting.popleft()
                if lost:
                    yield line._replace(payload=LOST_LINES % lost, stream=Stream.ERR, source_type="LOG")
                yield line
            self._filled.clear()


class FanOut:
    """Forwards every line to several sinks."""

    def __init__(self, sinks: Sequence[LogSink]) -> None:
        self.forward_to(sinks)

    def forward_to(self, sinks: Sequence[LogSink]) -> None:
        """Forward to these sinks from now on."""
        self._emits = [in_bulk(sink) for sink in sinks]

    def emit(self, line: LogLine) -> None:
        self.emit_batch(LineBatch.of(line))

    def emit_batch(self, batch: LineBatch) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        for emit in self._emits:
            emit(batch)
