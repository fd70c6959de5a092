"""Log lines, and the interfaces of log sinks and step output."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import repeat
from types import MappingProxyType
from typing import NamedTuple, Protocol, cast, runtime_checkable

from executor.engine.spool import Delivery


class Stream(Enum):
    """Type of a log line."""

    OUT = "OUT"
    ERR = "ERR"


class LogLine(NamedTuple):
    """One line. payload: bytes as the process wrote them, without line end, at most 61440.

    source_id, instance_id: its app and instance. source_type: the log source (APP, HEALTH, CELL ...).
    time_ns: read time, ns since the epoch. A tuple, because many are created.
    offset, delivery: of a line from a durable process: the line's end in its stream, and what keeps it in the
        spool. ``delivery.name`` and ``offset`` identify the line, also after a restart.
    """

    payload: bytes
    stream: Stream
    source_id: str
    instance_id: str
    source_type: str
    time_ns: int
    tags: Mapping[str, str] = MappingProxyType({})
    offset: int = 0
    delivery: Delivery | None = None


class LineBatch:
    """The lines of one read: they differ in payload, time and offset only.

    first: a line with their common fields. payloads, times, offsets: of each line; no offsets if the lines
    come from no stream. Several lines contain no line feeds. Sinks that need each line by itself use
    :meth:`lines`; the others save an object per line.
    """

    __slots__ = ("_lines", "first", "offsets", "payloads", "times")

    def __init__(
        self, first: LogLine, payloads: Sequence[bytes], times: Sequence[int], offsets: Sequence[int] = ()
    ) -> None:
        self.first = first
        self.payloads = payloads
        self.times = times
        self.offsets = offsets
        self._lines: Sequence[LogLine] = ()

    @classmethod
    def of(cls, line: LogLine) -> LineBatch:
        """A batch of one line."""
        offsets = () if line.delivery is None else (line.offset,)
        made = cls(line, (line.payload,), (line.time_ns,), offsets)
        made._lines = (line,)
        return made

    def __len__(self) -> int:
        return len(self.payloads)

    def lines(self) -> Sequence[LogLine]:
        """Each line by itself."""
        if not self._lines:
            _, stream, source_id, instance_id, source_type, _, tags, _, delivery = self.first
            fields = zip(
                self.payloads,
                repeat(stream),
                repeat(source_id),
                repeat(instance_id),
                repeat(source_type),
                self.times,
                repeat(tags),
                self.offsets or repeat(0),
                repeat(delivery),
                strict=False,
            )
            self._lines = list(map(_line, fields))
        return self._lines

    def after(self, offset: int) -> LineBatch | None:
        """The lines with a larger offset than ``offset``; None without any."""
        index = bisect_right(self.offsets, offset)
        return None if index == len(self) else self._from(index)

    def last(self, count: int) -> LineBatch:
        """The last ``count`` lines."""
        return self._from(max(len(self) - count, 0))

    def _from(self, index: int) -> LineBatch:
        if index == 0:
            return self
        return LineBatch(self.first, self.payloads[index:], self.times[index:], self.offsets[index:])


_line = cast(Callable[[tuple[object, ...]], LogLine], partial(tuple.__new__, LogLine))
"""Makes a line of all its fields in half the time of its class."""


class LogSink(Protocol):
    """Receives lines. Must not block and must not raise: a slow sink has its own bounded buffer.

    A sink that keeps a line holds its delivery until the line is delivered or counted as dropped.
    """

    def emit(self, line: LogLine) -> None: ...


@runtime_checkable
class BulkSink(LogSink, Protocol):
    """Receives all lines of one read at once, at a much lower cost per line."""

    def emit_batch(self, batch: LineBatch) -> None: ...


EmitBatch = Callable[[LineBatch], None]


def in_bulk(sink: LogSink) -> EmitBatch:
    """A function that gives a sink all lines of a batch."""
    if isinstance(sink, BulkSink):
        return sink.emit_batch

    def one_by_one(batch: LineBatch) -> None:
        for line in batch.lines():
            sink.emit(line)

    return one_by_one


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Output:
    """Output of one step: a handler of bytes for each stream, and the end of both.

    flush: sends the incomplete last lines. own: takes the cell's own text for one of the streams, if it
    needs other handling than output.
    """

    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]
    flush: Callable[[], None]
    own: Callable[[bytes, Stream], None] | None = None

    def write(self, text: str, stream: Stream = Stream.OUT) -> None:
        """Write whole lines of the cell's own; the last line end is optional.

        The instance's rate limits do not apply to them, so that an app's exit and health are always
        logged.
        """
        if not text:
            return
        if self.own is not None:
            self.own(text.encode(errors="replace"), stream)
        else:
            (self.stdout if stream is Stream.OUT else self.stderr)(text.encode(errors="replace"))


class LogStreams(Protocol):
    """Creates the output of each step. ``executor.logs.streamer.LogStreamer`` sends it to the app's log."""

    def source_name(self, source: str) -> str:
        """The effective log source for a requested one, which may be empty."""
        ...

    def stream(self, source: str) -> Output:
        """A new pair of line buffers, labelled with the effective log source."""
        ...
