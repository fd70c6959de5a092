"""What flows from processes to wherever logs go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable


class Stream(Enum):
    """Type of a log line."""

    OUT = "OUT"
    ERR = "ERR"


class LogLine(NamedTuple):
    """One line. payload: bytes as the process wrote them, without line end, at most 61440.

    source_id, instance_id: whom it belongs to. source_type: the log source (APP, HEALTH, CELL ...).
    time_ns: ns since the epoch, when it was read. A tuple, because one is made for every line of every app.
    """

    payload: bytes
    stream: Stream
    source_id: str
    instance_id: str
    source_type: str
    time_ns: int
    tags: Mapping[str, str] = MappingProxyType({})


class LogSink(Protocol):
    """Takes lines. Must not block and must not raise: a slow sink keeps its own bounded buffer."""

    def emit(self, line: LogLine) -> None: ...


@runtime_checkable
class BulkSink(LogSink, Protocol):
    """Takes what one read brought at once, for much less per line."""

    def emit_lines(self, lines: Sequence[LogLine]) -> None:
        """One line, or several without line feeds that differ in payload and time only."""
        ...


EmitLines = Callable[[Sequence[LogLine]], None]


def in_bulk(sink: LogSink) -> EmitLines:
    """How to give a sink many lines that differ in payload and time only."""
    if isinstance(sink, BulkSink):
        return sink.emit_lines

    def one_by_one(lines: Sequence[LogLine]) -> None:
        for line in lines:
            sink.emit(line)

    return one_by_one


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Output:
    """Where one step writes: a pair of handlers that take bytes as they come, and the end of both.

    flush: sends what is held back for want of a line end. own: takes text of the cell's own for one of the
    streams, where that is something else than output.
    """

    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]
    flush: Callable[[], None]
    own: Callable[[bytes, Stream], None] | None = None

    def tell(self, text: str, stream: Stream = Stream.OUT) -> None:
        """Whole lines of the cell's own among the output, the last one with or without its end.

        The instance's limits do not apply to them: how an app ended or fares is known however much it wrote.
        """
        if not text:
            return
        if self.own is not None:
            self.own(text.encode(errors="replace"), stream)
        else:
            (self.stdout if stream is Stream.OUT else self.stderr)(text.encode(errors="replace"))


class LogStreams(Protocol):
    """Gives every step its output. ``executor.logs.streamer.LogStreamer`` sends it to the app's log."""

    def source_name(self, source: str) -> str:
        """The effective log source for a wanted one, which may be empty."""
        ...

    def stream(self, source: str) -> Output:
        """A pair of line buffers of its own, labelled with the effective log source."""
        ...
