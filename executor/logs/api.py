"""Log lines, and the interfaces of log sinks and step output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from executor.engine.spool import Delivery


class Stream(Enum):
    """Type of a log line."""

    OUT = "OUT"
    ERR = "ERR"


class LogLine(NamedTuple):
    """One line. payload: bytes as the process wrote them, without line end, at most 61440.

    source_id, instance_id: its app and instance. source_type: the log source (APP, HEALTH, CELL ...).
    time_ns: read time, ns since the epoch. A tuple, because one is created for every line of every app.
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


class LogSink(Protocol):
    """Receives lines. Must not block and must not raise: a slow sink has its own bounded buffer.

    A sink that keeps a line holds its delivery until the line is delivered or counted as dropped.
    """

    def emit(self, line: LogLine) -> None: ...


@runtime_checkable
class BulkSink(LogSink, Protocol):
    """Receives all lines of one read at once, at a much lower cost per line."""

    def emit_lines(self, lines: Sequence[LogLine]) -> None:
        """Emit one line, or several without line feeds that differ in payload, time and offset only."""
        ...


EmitLines = Callable[[Sequence[LogLine]], None]


def in_bulk(sink: LogSink) -> EmitLines:
    """A function that gives a sink many lines that differ in payload, time and offset only."""
    if isinstance(sink, BulkSink):
        return sink.emit_lines

    def one_by_one(lines: Sequence[LogLine]) -> None:
        for line in lines:
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

    def tell(self, text: str, stream: Stream = Stream.OUT) -> None:
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
