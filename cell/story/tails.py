"""The last log lines of each instance, for views. Implements :class:`executor.logs.api.BulkSink`.

Lines are numbered per instance, so a reader asks for those after the last one that it knows, and needs no
buffer of its own. A line comes with every read of an app's output, so a call costs a bounded time: of a large
read only the last lines are looked at.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from typing import Final, NamedTuple

from executor.logs.api import LineBatch, LogLine, Stream
from executor.logs.streamer import plain
from executor.model import LogConfig

LINES_MOST: Final = 200
LINE_BYTES_MOST: Final = 4096
TAIL_BYTES_MOST: Final = 64 << 10
"""Lines of one instance, bytes of a line that is cut, bytes of all lines of one instance."""
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


class _Chunk(NamedTuple):
    """The last lines of one read. cuts: missing bytes of each line; empty if no line is cut."""

    is_error: bool
    source: str
    payloads: Sequence[bytes]
    times: Sequence[int]
    cuts: Sequence[int]
    size: int

    @classmethod
    def of(cls, batch: LineBatch) -> _Chunk:
        payloads, times = batch.payloads[-LINES_MOST:], batch.times[-LINES_MOST:]
        cuts: Sequence[int] = ()
        size = sum(map(len, payloads))
        if size > TAIL_BYTES_MOST:
            cuts = [max(len(payload) - LINE_BYTES_MOST, 0) for payload in payloads]
            payloads = [payload[:LINE_BYTES_MOST] for payload in payloads]
            fitting = TAIL_BYTES_MOST // (LINE_BYTES_MOST + LINE_COST)
            payloads, times, cuts = payloads[-fitting:], times[-fitting:], cuts[-fitting:]
            size = sum(map(len, payloads))
        is_error = batch.first.stream is Stream.ERR
        cost = size + LINE_COST * len(payloads)
        return cls(is_error, batch.first.source_type, payloads, times, cuts, cost)

    def lines(self, skipped: int) -> Iterator[TailLine]:
        """The lines after the first ``skipped`` ones."""
        each = zip(self.times, self.payloads, self.cuts or repeat(0), strict=False)
        for time_ns, payload, cut in islice(each, skipped, None):
            yield TailLine(time_ns, self.is_error, self.source, payload, cut)


class Tail:
    """The last lines of one instance. count: of all lines so far. size: approximate memory in bytes."""

    __slots__ = ("_chunks", "_kept", "count", "size")

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque()
        self._kept = 0
        self.size = 0
        self.count = 0

    def extend(self, batch: LineBatch) -> None:
        """Add the lines of a read; whole reads go as long as there are enough lines after them."""
        chunk = _Chunk.of(batch)
        chunks = self._chunks
        chunks.append(chunk)
        self.count += len(batch)
        self._kept += len(chunk.payloads)
        self.size += chunk.size
        while len(chunks) > 1 and (
            self._kept - len(chunks[0].payloads) >= LINES_MOST or self.size > TAIL_BYTES_MOST
        ):
            oldest = chunks.popleft()
            self._kept -= len(oldest.payloads)
            self.size -= oldest.size

    def after(self, number: int) -> list[TailLine]:
        """The kept lines after line ``number``, which counts from 1; the last ones of too many."""
        skipped = self._kept - min(self.count - number, self._kept, LINES_MOST)
        lines: list[TailLine] = []
        for chunk in self._chunks:
            if skipped < len(chunk.payloads):
                lines += chunk.lines(skipped)
            skipped = max(skipped - len(chunk.payloads), 0)
        return lines


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
        self.emit_batch(LineBatch.of(line))

    def emit_batch(self, batch: LineBatch) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        key = batch.first.source_id, batch.first.instance_id
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = Tail()
        else:
            self._tails.move_to_end(key)
        before = tail.size
        tail.extend(batch)
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
