"""The last log lines of each instance, for views. Implements :class:`executor.logs.api.BulkSink`.

Lines are numbered per instance, so a reader asks for those after the last one that it knows, and needs no
buffer of its own. A line comes with every read of an app's output, so a call costs a bounded time: of a large
read only the last lines are looked at.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from executor.logs.api import LogLine, Stream
from executor.logs.streamer import plain
from executor.model import LogConfig

LINES_MOST: Final = 200
LINE_BYTES_MOST: Final = 4096
TAIL_BYTES_MOST: Final = 64 << 10
"""Lines of one instance, bytes of one line, bytes of all lines of one instance."""
TOTAL_BYTES_MOST: Final = 16 << 20
"""Bytes of all tails; at this bound the least recently written ones are dropped."""
LINE_COST: Final = 200
"""Approximate memory of a line besides its text."""

Key = tuple[str, str]
"""Source id and instance id of the lines."""


class TailLine(NamedTuple):
    """A line without its labels. cut: bytes that are missing at its end."""

    time_ns: int
    is_error: bool
    source: str
    payload: bytes
    cut: int


class Tail:
    """The last lines of one instance. count: of all lines so far."""

    __slots__ = ("count", "lines", "size")

    def __init__(self) -> None:
        self.lines: deque[TailLine] = deque()
        self.size = 0
        self.count = 0

    def extend(self, lines: Sequence[LogLine]) -> None:
        self.count += len(lines)
        for payload, stream, _, _, source, time_ns, *_ in lines[-LINES_MOST:]:
            cut = max(len(payload) - LINE_BYTES_MOST, 0)
            kept = payload[:LINE_BYTES_MOST] if cut else payload
            self.lines.append(TailLine(time_ns, stream is Stream.ERR, source, kept, cut))
            self.size += len(kept) + LINE_COST
        while len(self.lines) > LINES_MOST or self.size > TAIL_BYTES_MOST:
            self.size -= len(self.lines.popleft().payload) + LINE_COST

    def after(self, number: int) -> list[TailLine]:
        """The kept lines after line ``number``, which counts from 1."""
        new = min(self.count - number, len(self.lines))
        return [self.lines[index] for index in range(len(self.lines) - new, len(self.lines))]


class Tails:
    """Tails by the ids of their lines."""

    def __init__(self) -> None:
        self._tails: OrderedDict[Key, Tail] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Approximate memory of all tails, in bytes."""
        return self._size

    def emit(self, line: LogLine) -> None:
        self.emit_lines((line,))

    def emit_lines(self, lines: Sequence[LogLine]) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        key = lines[0].source_id, lines[0].instance_id
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = Tail()
        else:
            self._tails.move_to_end(key)
        before = tail.size
        tail.extend(lines)
        self._size += tail.size - before
        while self._size > TOTAL_BYTES_MOST:
            _, oldest = self._tails.popitem(last=False)
            self._size -= oldest.size

    def of(self, key: Key) -> Tail | None:
        return self._tails.get(key)


def key_of(config: LogConfig) -> Key:
    """The ids of an instance's lines, as its log streamer sets them."""
    tags = config.tags
    return (
        plain(tags.get("source_id", config.guid)),
        plain(tags.get("instance_id", str(config.index))),
    )
