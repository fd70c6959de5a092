"""Sinks that keep lines in memory, or pass them to several others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from executor.logs.api import LogLine, LogSink, in_bulk


class RingSink:
    """The last ``capacity`` lines, and whoever listens for the next ones."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._lines: deque[LogLine] = deque(maxlen=capacity)
        self._subscribers: set[_Subscriber] = set()

    def emit(self, line: LogLine) -> None:
        self._lines.append(line)
        for subscriber in self._subscribers:
            subscriber.push(line)

    def lines(self) -> list[LogLine]:
        """What the ring holds, oldest first."""
        return list(self._lines)

    @contextmanager
    def subscribe(self, *, replay: bool = False) -> Iterator[AsyncIterator[LogLine]]:
        """Lines from now on, or with ``replay`` from the oldest one held.

        A listener too slow for the ring loses the oldest lines it has not read.
        """
        subscriber = _Subscriber(self._capacity, self._lines if replay else ())
        self._subscribers.add(subscriber)
        try:
            yield subscriber.lines()
        finally:
            self._subscribers.discard(subscriber)


class _Subscriber:
    def __init__(self, capacity: int, lines: Sequence[LogLine] | deque[LogLine]) -> None:
        self._lines: deque[LogLine] = deque(lines, maxlen=capacity)
        self._filled = asyncio.Event()
        if self._lines:
            self._filled.set()

    def push(self, line: LogLine) -> None:
        self._lines.append(line)
        self._filled.set()

    async def lines(self) -> AsyncIterator[LogLine]:
        while True:
            await self._filled.wait()
            while self._lines:
                yield self._lines.popleft()
            self._filled.clear()


class FanOut:
    """Every line to each of several sinks."""

    def __init__(self, sinks: Sequence[LogSink]) -> None:
        self._emits = [in_bulk(sink) for sink in sinks]

    def emit(self, line: LogLine) -> None:
        self.emit_lines((line,))

    def emit_lines(self, lines: Sequence[LogLine]) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        for emit in self._emits:
            emit(lines)
