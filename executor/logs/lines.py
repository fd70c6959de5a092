"""Splitting of output into lines.

Lines end at a line feed or a carriage return; empty lines are dropped. A line longer than the maximum
message is split, without breaking a UTF-8 sequence. All lines of one read are handled together, because
the cost per line is the cost of a chatty app.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

MAX_MESSAGE_BYTES = 61440


class LineBuffer:
    """Splits output and passes complete lines, without their ends, to ``emit``.

    An incomplete line is kept; it has less than :data:`MAX_MESSAGE_BYTES`.
    """

    def __init__(self, emit: Callable[[Sequence[bytes]], None]) -> None:
        self._emit = emit
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Emit the lines that ``data`` completes, in one call."""
        if complete := self._split(self._joined(data)):
            self._emit(complete)

    def skip(self, data: bytes) -> tuple[int, int]:
        """Count the lines that ``data`` completes instead: their number, and their bytes without line ends.

        Takes a hundredth of the time of splitting one-byte lines.
        """
        data = self._joined(data)
        end = data.rfind(b"\n") + 1
        if not end or _has_long_line(data):
            lines = self._split(data)
            return len(lines), sum(map(len, lines))
        self._rest, data = data[end:], data[:end]
        while b"\n\n" in data:
            data = data.replace(b"\n\n", b"\n")
        data = data.removeprefix(b"\n")
        count = data.count(b"\n")
        return count, len(data) - count

    def flush(self) -> None:
        """Emit the incomplete line, if any."""
        if self._rest:
            line, self._rest = self._rest, b""
            self._emit((line,))

    def _joined(self, data: bytes) -> bytes:
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        return data

    def _split(self, data: bytes) -> list[bytes]:
        lines = data.split(b"\n")
        rest = lines.pop()
        complete = list(filter(None, lines))
        if len(data) > MAX_MESSAGE_BYTES and complete and max(map(len, complete)) > MAX_MESSAGE_BYTES:
            complete = [piece for line in complete for piece in _pieces(line)]
        while len(rest) >= MAX_MESSAGE_BYTES:
            cut = cut_before_sequence(rest, MAX_MESSAGE_BYTES)
            complete.append(rest[:cut])
            rest = rest[cut:]
        self._rest = rest
        return complete


def _has_long_line(data: bytes) -> bool:
    """Whether a line must be split. A long enough line contains a byte at a multiple of the limit."""
    for at in range(0, len(data), MAX_MESSAGE_BYTES):
        end = data.find(b"\n", at)
        if (len(data) if end < 0 else end) - (data.rfind(b"\n", 0, at) + 1) >= MAX_MESSAGE_BYTES:
            return True
    return False


def _pieces(line: bytes) -> Iterator[bytes]:
    while len(line) > MAX_MESSAGE_BYTES:
        cut = cut_before_sequence(line, MAX_MESSAGE_BYTES)
        yield line[:cut]
        line = line[cut:]
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
