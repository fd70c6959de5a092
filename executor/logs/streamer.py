"""Log of one container: from the output of its steps, and from the cell, to a sink.

Rate limits apply to the app's output. Lines of the cell about an app (its exit, check results) always
pass, unless the byte limit is 0. When a limit is exceeded, the app's log says so once, and then a second of
output is missing. The dropped amount is for the operator and goes to ``on_dropped``: after the mute, or at
the end of the container.

Output of a durable process comes from its spool. Its lines carry their offset, and a delivery that keeps them
in the spool until the sinks have taken them. An incomplete line stays in the spool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakSet

from executor.clock import Clock, SystemClock
from executor.engine.spool import Delivery, Spool
from executor.logs.api import LineBatch, LogLine, LogSink, Output, Stream, in_bulk
from executor.logs.lines import NO_OFFSET, LineBuffer, Lines
from executor.logs.rate import RateLimiter
from executor.model import LogConfig

DEFAULT_SOURCE = "LOG"


class LogStreamer:
    """Log of a container. Its steps share its limits and tags; each step has its own line buffers.

    bytes_per_second, max_lines_per_second: see :class:`executor.logs.rate.RateLimiter`.
    origin: value of the tag ``origin`` on every line.
    on_limit_exceeded: called for each reported refusal.
    on_dropped: called with the lines and bytes dropped by a limit since its last call.

    Without ``config.guid`` the output of steps is dropped; lines of the cell are still sent.
    """

    def __init__(
        self,
        sink: LogSink,
        config: LogConfig,
        bytes_per_second: int = -1,
        max_lines_per_second: int = 0,
        clock: Clock | None = None,
        *,
        origin: str = "rep",
        on_limit_exceeded: Callable[[], None] | None = None,
        on_dropped: Callable[[int, int], None] | None = None,
    ) -> None:
        self._emit_batch = in_bulk(sink)
        self._config = config
        self._clock = clock or SystemClock()
        self._origin = origin
        self._on_limit_exceeded = on_limit_exceeded
        self._on_dropped = on_dropped
        self._reported_lines = self._reported_bytes = 0
        self._last_ns = 0
        self._unlimited = False
        self._limiter = RateLimiter(bytes_per_second, max_lines_per_second, self._clock)
        self._outputs: WeakSet[Output] = WeakSet()
        self._tags_by_source: dict[str, Mapping[str, str]] = {}
        self._source_id = self._instance_id = ""
        self.update_tags(config.tags)

    @property
    def limiter(self) -> RateLimiter:
        """The container's limiter, with its counts."""
        return self._limiter

    def update_tags(self, tags: Mapping[str, str]) -> None:
        """Replace the metric tags of all further lines. Missing ids keep their defaults: log guid
        and index.
        """
        self._tags = {plain(name): plain(value) for name, value in tags.items()}
        self._source_id = self._tags.get("source_id", plain(self._config.guid))
        self._instance_id = self._tags.get("instance_id", str(self._config.index))
        self._tags_by_source.clear()

    def source_name(self, source: str) -> str:
        """The effective source of a step: the requested one, else the container's; ``LOG``
        without log guid.
        """
        if not self._config.guid:
            return DEFAULT_SOURCE
        return plain(source or self._config.source_name or DEFAULT_SOURCE)

    def stream(self, source: str = "") -> Output:
        """A new pair of line buffers labelled with the effective source."""
        if not self._config.guid:
            return Output(_drop, _drop, _nothing)
        source = self.source_name(source)
        stdout, stderr = StepStream(self, Stream.OUT, source), StepStream(self, Stream.ERR, source)

        def flush() -> None:
            stdout.flush()
            stderr.flush()

        def own(data: bytes, stream: Stream) -> None:
            self._unlimited = not self._limiter.silent
            try:
                (stdout if stream is Stream.OUT else stderr).own(data)
            finally:
                self._unlimited = False

        output = Output(stdout, stderr, flush, own)
        self._outputs.add(output)
        return output

    def direct(self, text: str, stream: Stream = Stream.OUT, source: str = "") -> None:
        """Emit lines of the cell; no limit applies."""
        source = plain(source or self._config.source_name or DEFAULT_SOURCE)
        buffer = LineBuffer()
        for payloads, _ in (buffer.write(text.encode(errors="replace")), buffer.flush()):
            self._emit(payloads, stream, source)

    def flush(self) -> None:
        """Emit the incomplete lines of all steps, and report dropped lines."""
        for output in list(self._outputs):
            output.flush()
        self._report_drops()

    def step_lines(
        self,
        payloads: Sequence[bytes],
        stream: Stream,
        source: str,
        ends: Sequence[int] = (),
        delivery: Delivery | None = None,
    ) -> None:
        """Emit the lines of a step that pass the limits."""
        limiter = self._limiter
        if self._unlimited or not limiter.limited:
            limiter.accepted_lines += len(payloads)
            limiter.accepted_bytes += sum(map(len, payloads))
            self._emit(payloads, stream, source, ends, delivery)
            return
        passed: list[bytes] = []
        passed_ends: list[int] = []
        for index, payload in enumerate(payloads):
            refusal = limiter.admit(len(payload))
            if refusal is None:
                self._report_drops()
                passed.append(payload)
                passed_ends += ends[index : index + 1]
            elif refusal:
                if self._on_limit_exceeded is not None:
                    self._on_limit_exceeded()
                self._emit(passed, stream, source, passed_ends, delivery)
                self._emit((refusal.encode(),), Stream.OUT, source)
                muted = payloads[index + 1 :]
                limiter.drop(len(muted), sum(map(len, muted)))
                return
        self._emit(passed, stream, source, passed_ends, delivery)

    def labels(self, stream: Stream, source: str) -> bytes:
        """What a later agent process needs to log the rest of a stream; see :func:`labelled`."""
        config = self._config
        return json.dumps(
            {
                "guid": config.guid,
                "index": config.index,
                "tags": dict(self._tags),
                "origin": self._origin,
                "source": source,
                "stream": stream.value,
            }
        ).encode()

    def _report_drops(self) -> None:
        limiter = self._limiter
        if limiter.dropped_lines > self._reported_lines:
            lines = limiter.dropped_lines - self._reported_lines
            size = limiter.dropped_bytes - self._reported_bytes
            self._reported_lines, self._reported_bytes = limiter.dropped_lines, limiter.dropped_bytes
            if self._on_dropped is not None:
                self._on_dropped(lines, size)

    def _emit(
        self,
        payloads: Sequence[bytes],
        stream: Stream,
        source: str,
        ends: Sequence[int] = (),
        delivery: Delivery | None = None,
    ) -> None:
        """Emit lines with times a nanosecond apart, so that sorting by time keeps their order."""
        if not payloads:
            return
        if delivery is not None:
            delivery.count(len(payloads))
        first_ns = max(self._clock.time_ns(), self._last_ns + 1)
        self._last_ns = first_ns + len(payloads) - 1
        first = LogLine(
            payloads[0],
            stream,
            self._source_id,
            self._instance_id,
            source,
            first_ns,
            self._tags_of(source),
            ends[0] if ends else 0,
            delivery,
        )
        self._emit_batch(LineBatch(first, payloads, range(first_ns, self._last_ns + 1), ends))

    def _tags_of(self, source: str) -> Mapping[str, str]:
        tags = self._tags_by_source.get(source)
        if tags is None:
            tags = {"origin": self._origin, "source_type": source, **self._tags}
            tags |= {"source_id": self._source_id, "instance_id": self._instance_id}
            self._tags_by_source[source] = tags
        return tags


class StepStream:
    """One stream of a step. Implements :class:`executor.engine.api.DurableHandler`."""

    def __init__(self, log: LogStreamer, stream: Stream, source: str) -> None:
        self._log = log
        self._stream = stream
        self._source = source
        self._buffer = LineBuffer()
        self._spool: Spool | None = None
        self._delivery: Delivery | None = None
        self._end = NO_OFFSET

    def __call__(self, data: bytes) -> None:
        """Handle output."""
        self._write(data, NO_OFFSET)

    def take(self, data: bytes, end: int, spool: Spool) -> None:
        """Handle output of a spool."""
        self._spool, self._end = spool, end
        self._deliver(spool, lambda: self._write(data, end))

    def labels(self) -> bytes:
        """Describes the stream to a later agent process."""
        return self._log.labels(self._stream, self._source)

    def own(self, data: bytes) -> None:
        """Handle the cell's own lines; the first one ends an incomplete line of the process."""
        if self._spool is not None and self._buffer.held:
            first, _, data = data.partition(b"\n")
            self._emit(self._buffer.write(first))
            self.flush()
        self._emit(self._buffer.write(data))
        self._emit(self._buffer.flush())

    def flush(self) -> None:
        """Emit the incomplete line, unless it is left to the next agent process."""
        if self._spool is None:
            self._emit(self._buffer.flush())
        elif self._buffer.held and not self._spool.detached:
            self._deliver(self._spool, lambda: self._emit(self._buffer.flush(self._end)))

    def _deliver(self, spool: Spool, emit: Callable[[], None]) -> None:
        self._delivery = delivery = spool.deliver()
        try:
            emit()
        finally:
            self._delivery = None
            delivery.end = self._end - self._buffer.held
            delivery.release()

    def _write(self, data: bytes, end: int) -> None:
        """While the app is muted, its lines are only counted."""
        limiter = self._log.limiter
        if limiter.muted:
            limiter.drop(*self._buffer.skip(data))
        else:
            self._emit(self._buffer.write(data, end))

    def _emit(self, lines: Lines) -> None:
        payloads, ends = lines
        if payloads:
            self._log.step_lines(payloads, self._stream, self._source, ends, self._delivery)


def plain(text: str) -> str:
    """Replace unpaired surrogates, which JSON can contain, by ``?``, so that every sink can
    encode the text.
    """
    return text.encode(errors="replace").decode()


def _drop(data: bytes) -> None:
    """Discards output, which has no destination without a log guid."""


def _nothing() -> None:
    """Without a log guid no output is held back."""
