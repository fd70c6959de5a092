"""The log of one container: from the output of its steps, and from the cell itself, to a sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakSet

from executor.logs.api import LogLine, LogSink, Output, Stream
from executor.logs.clock import Clock, SystemClock
from executor.logs.lines import LineBuffer
from executor.logs.rate import RateLimiter
from executor.model import LogConfig

DEFAULT_SOURCE = "LOG"


class LogStreamer:
    """All steps of a container share its limits and its tags; each has line buffers of its own.

    bytes_per_second, max_lines_per_second: see :class:`executor.logs.rate.RateLimiter`.
    origin: the tag of that name on every line. on_limit_exceeded: hears of each reported refusal.

    Without ``config.guid`` the output of steps is dropped; the cell's own lines are sent regardless.
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
    ) -> None:
        self._sink = sink
        self._config = config
        self._clock = clock or SystemClock()
        self._origin = origin
        self._on_limit_exceeded = on_limit_exceeded
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
        """Replace the metric tags of all lines from now on. Absent ids keep their defaults: log guid and
        index."""
        self._source_id = tags.get("source_id", self._config.guid)
        self._instance_id = tags.get("instance_id", str(self._config.index))
        self._tags = dict(tags)
        self._tags_by_source.clear()

    def source_name(self, source: str) -> str:
        """The effective source of a step: the wanted one, else the container's; ``LOG`` without log guid."""
        if not self._config.guid:
            return DEFAULT_SOURCE
        return source or self._config.source_name or DEFAULT_SOURCE

    def stream(self, source: str = "") -> Output:
        """A new pair of line buffers labelled with the effective source."""
        if not self._config.guid:
            return Output(_drop, _drop, _nothing)
        source = self.source_name(source)
        stdout = LineBuffer(lambda payload: self._step_line(payload, Stream.OUT, source))
        stderr = LineBuffer(lambda payload: self._step_line(payload, Stream.ERR, source))

        def flush() -> None:
            stdout.flush()
            stderr.flush()

        output = Output(stdout.write, stderr.write, flush)
        self._outputs.add(output)
        return output

    def direct(self, text: str, stream: Stream = Stream.OUT, source: str = "") -> None:
        """A line of the cell's own; no limit applies."""
        source = source or self._config.source_name or DEFAULT_SOURCE
        self._emit(text.encode(), stream, source)

    def flush(self) -> None:
        """Send the incomplete lines of every step."""
        for output in list(self._outputs):
            output.flush()

    def _step_line(self, payload: bytes, stream: Stream, source: str) -> None:
        refusal = self._limiter.admit(len(payload))
        if refusal is None:
            self._emit(payload, stream, source)
        elif refusal:
            if self._on_limit_exceeded is not None:
                self._on_limit_exceeded()
            self._emit(refusal.encode(), Stream.OUT, source)

    def _emit(self, payload: bytes, stream: Stream, source: str) -> None:
        self._sink.emit(
            LogLine(
                payload=payload,
                stream=stream,
                source_id=self._source_id,
                instance_id=self._instance_id,
                source_type=source,
                time_ns=self._clock.time_ns(),
                tags=self._tags_of(source),
            )
        )

    def _tags_of(self, source: str) -> Mapping[str, str]:
        tags = self._tags_by_source.get(source)
        if tags is None:
            tags = {"origin": self._origin, "source_type": source, **self._tags}
            tags |= {"source_id": self._source_id, "instance_id": self._instance_id}
            self._tags_by_source[source] = tags
        return tags


def _drop(data: bytes) -> None:
    """Without a log guid there is nowhere to send it."""


def _nothing() -> None:
    """Nothing was held back."""
