"""Splitting of output into lines.

Lines end at a line feed or a carriage return; empty lines are dropped. A line longer than the maximum
message is split, without breaking a UTF-8 sequence. All lines of one read are handled together, because
the cost per line is the cost of a chatty app.

The same stream gives the same lines however it is cut into reads, also by a restart at the end of a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, count
from operator import add

MAX_MESSAGE_BYTES = 61440

NO_OFFSET = -1
"""Offset of output that comes from no stream."""

Lines = tuple[Sequence[bytes], Sequence[int]]
"""Lines, and their offsets: where each ends in its stream, without its line end. No offsets if the stream has
none.
"""


class LineBuffer:
    """Splits output into lines, without their ends.

    An incomplete line is kept; it has less than :data:`MAX_MESSAGE_BYTES`.
    """

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held(self) -> int:
        """Bytes of the incomplete line."""
        return len(self._rest)

    def write(self, data: bytes, end: int = NO_OFFSET) -> Lines:
        """The lines that ``data`` completes. end: of ``data`` in its stream."""
        return self._split(self._joined(data), end)

    def skip(self, data: bytes) -> tuple[int, int]:
        """Count the lines that ``data`` completes instead: their number, and their bytes without line ends.

        Takes a hundredth of the time of splitting one-byte lines.
        """
        data = self._joined(data)
        end = data.rfind(b"\n") + 1
        if not end or _has_long_line(data):
            lines, _ = self._split(data, NO_OFFSET)
            return len(lines), sum(map(len, lines))
        self._rest, data = data[end:], data[:end]
        while b"\n\n" in data:
            data = data.replace(b"\n\n", b"\n")
        data = data.removeprefix(b"\n")
        count = data.count(b"\n")
        return count, len(data) - count

    def flush(self, end: int = NO_OFFSET) -> Lines:
        """The incomplete line, if any, which is not kept any more. end: of the stream."""
        if not self._rest:
            return (), ()
        line, self._rest = self._rest, b""
        return (line,), () if end == NO_OFFSET else (end,)

    def _joined(self, data: bytes) -> bytes:
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        return data

    def _split(self, data: bytes, end: int) -> tuple[list[bytes], list[int]]:
        lines = data.split(b"\n")
        rest = lines.pop()
        complete = list(filter(None, lines)) if b"" in lines else lines
        ends: list[int] = []
        if end != NO_OFFSET:
            ends = list(map(add, accumulate(map(len, lines)), count(end - len(data))))
            if len(complete) < len(lines):
                ends = list(compress(ends, lines))
        if len(data) > MAX_MESSAGE_BYTES and complete and max(map(len, complete)) >= MAX_MESSAGE_BYTES:
            complete, ends = _without_long(complete, ends)
        while len(rest) >= MAX_MESSAGE_BYTES:
            cut = cut_before_sequence(rest, MAX_MESSAGE_BYTES)
            complete.append(rest[:cut])
            rest = rest[cut:]
            if end != NO_OFFSET:
                ends.append(end - len(rest))
        self._rest = rest
        return complete, ends


def _has_long_line(data: bytes) -> bool:
    """Whether a line must be split. A long enough line contains a byte at a multiple of the limit."""
    for at in range(0, len(data), MAX_MESSAGE_BYTES):
        end = data.find(b"\n", at)
        if (len(data) if end < 0 else end) - (data.rfind(b"\n", 0, at) + 1) >= MAX_MESSAGE_BYTES:
            return True
    return False


def _without_long(lines: Sequence[bytes], ends: Sequence[int]) -> tuple[list[bytes], list[int]]:
    """Split the long lines, with the offset of each piece."""
    split = [list(_pieces(line)) for line in lines]
    piece_ends = [
        end - len(line) + size
        for line, pieces, end in zip(lines, split, ends, strict=bool(ends))
        for size in accumulate(map(len, pieces))
    ]
    return [piece for pieces in split for piece in pieces], piece_ends


def _pieces(line: bytes) -> Iterator[bytes]:
    while len(line) >= MAX_MESSAGE_BYTES:
        cut = cut_before_sequence(line, MAX_MESSAGE_BYTES)
        yield line[:cut]
        line = line[cut:]
    if line:
        yield line


def cut_before_sequence(data: bytes, limit: int) -> int:
    """Where to split ``data``: at ``limit``, or up to 3 bytes earlier, before a UTF-8 sequence that does not
    fit.
    """
    for back in range(1, min(3, limit) + 1):
        byte = data[limit - back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return limit - back if length > back else limit
    return limit
