"""Where lines go: a file of JSON lines, a ring in memory with listeners, or several places at once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from executor.logs.api import LogLine, LogSink

logger = logging.getLogger(__name__)


def to_json(line: LogLine) -> bytes:
    """One line of the JSON form; bytes that are no UTF-8 are shown as replacement characters."""
    record = {
        "time_ns": line.time_ns,
        "source_id": line.source_id,
        "instance_id": line.instance_id,
        "source_type": line.source_type,
        "stream": line.stream.value,
        "message": line.payload.decode(errors="replace"),
        "tags": dict(line.tags),
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class JsonLinesSink:
    """JSON lines to a binary file such as standard output.

    ``emit`` only appends to a buffer of ``capacity`` lines; ``run`` writes, in a thread, until it is
    cancelled, and then what is left. Lines that find the buffer full are dropped and counted.
    """

    def __init__(self, file: IO[bytes], *, capacity: int = 10_000) -> None:
        self._file = file
        self._capacity = capacity
        self._lines: deque[LogLine] = deque()
        self._filled = asyncio.Event()
        self.dropped = 0

    def emit(self, line: LogLine) -> None:
        if len(self._lines) >= self._capacity:
            self.dropped += 1
            return
        self._lines.append(line)
        self._filled.set()

    async def run(self) -> None:
        """Write until cancelled. Raises OSError when the file takes no more."""
        reported = 0
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                await self._write_in_thread(self._take())
                if self.dropped > reported:
                    logger.warning("log-sink.dropped", extra={"data": {"lines": self.dropped - reported}})
                    reported = self.dropped
        finally:
            self._write(self._take())

    async def _write_in_thread(self, lines: Sequence[LogLine]) -> None:
        writing = asyncio.create_task(asyncio.to_thread(self._write, lines))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing
            raise

    def _take(self) -> list[LogLine]:
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def _write(self, lines: Sequence[LogLine]) -> None:
        self._file.write(b"".join(map(to_json, lines)))
        self._file.flush()


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
        self._sinks = tuple(sinks)

    def emit(self, line: LogLine) -> None:
        for sink in self._sinks:
            sink.emit(line)
