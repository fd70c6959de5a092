"""Log lines, and a sink that keeps them."""

from __future__ import annotations

from executor.logs.api import LogLine, Stream


def make_line(
    text: bytes | str = b"hello",
    *,
    stream: Stream = Stream.OUT,
    source_id: str = "app-guid",
    instance_id: str = "2",
    source_type: str = "APP/PROC/WEB",
    time_ns: int = 1_522_171_784_100_530_624,
    tags: dict[str, str] | None = None,
) -> LogLine:
    payload = text.encode() if isinstance(text, str) else text
    return LogLine(payload, stream, source_id, instance_id, source_type, time_ns, tags or {})


class RecordingSink:
    """Keeps every line, in order."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def emit(self, line: LogLine) -> None:
        self.lines.append(line)

    @property
    def texts(self) -> list[str]:
        return [line.payload.decode() for line in self.lines]

    @property
    def shown(self) -> list[tuple[str, str, str]]:
        """(stream, source, text) of every line."""
        return [(line.stream.value, line.source_type, line.payload.decode()) for line in self.lines]
