"""Incremental parser of HTTP answers to a check: the head, and the body to its end.

This module does no I/O. The owner of the connection drives a :class:`Parser`: the program uses
:class:`Reader`, the agent's probe feeds it from a stream.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeVar

    T = TypeVar("T")

USER_AGENT = "diego-healthcheck"
MAX_REQUESTS = 10
"""Limit of requests per attempt, redirects included."""
MAX_HEAD_BYTES = 10 << 20
"""Limit of status line and headers together."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WITHOUT_BODY = frozenset({101, 204, 304})
_READ_HEADERS = frozenset({"location", "content-length", "transfer-encoding"})
"""The headers that a check uses. Others are dropped, because an app may send very many."""


class ExchangeError(Exception):
    """An answer or a redirect that cannot be used."""


class Answer:
    """Status and used headers. Names are lower case; of a repeated header the first value counts."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers

    @property
    def location(self) -> str:
        """The redirect target; empty if this answer is final."""
        return self.headers.get("location", "") if self.status in _REDIRECTS else ""


class Parser:
    """Parsing steps as generators: they ``yield`` for the next bytes and return the parsed result.

    Empty bytes mean the end of the input.
    """

    def __init__(self, max_head_bytes: int = MAX_HEAD_BYTES, max_lines: int | None = None) -> None:
        """max_lines: limit of header lines and lines between chunks together; None means no limit."""
        self._max_head_bytes = max_head_bytes
        self._lines_left = max_lines
        self._buffer = b""
        self._at = 0  # offset of the unread bytes; the buffer is cut once per piece, not per line
        self._head_bytes = 0

    def head(self) -> Generator[None, bytes, Answer]:
        """The head of the final answer; informational answers are skipped. Raises ExchangeError."""
        while True:
            status = _status((yield from self._line()))
            headers: dict[str, str] = {}
            while line := (yield from self._line()):
                name, colon, value = line.partition(":")
                if not colon:
                    raise ExchangeError("malformed header line")
                known = name.strip().lower()
                if known in _READ_HEADERS:
                    headers.setdefault(known, value.strip())
            if 100 <= status < 200 and status != 101:
                continue
            length = headers.get("content-length", "0")
            if not length.isascii() or not length.isdigit():
                raise ExchangeError("bad Content-Length")
            return Answer(status, headers)

    def body(self, answer: Answer) -> Generator[None, bytes, None]:
        """Read the body to its end and drop it. Raises ExchangeError or ValueError for a broken body."""
        if answer.status in _WITHOUT_BODY:
            return
        if answer.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := _chunk_size((yield from self._line())):
                yield from self._drop(size)
                yield from self._line()
        elif "content-length" in answer.headers:
            yield from self._drop(int(answer.headers["content-length"]))
        else:
            while (yield):
                pass

    def _line(self) -> Generator[None, bytes, str]:
        if self._lines_left is not None:
            self._lines_left -= 1
            if self._lines_left < 0:
                raise ExchangeError("too many lines")
        searched = self._at
        while (end := self._buffer.find(b"\n", searched)) < 0:
            more = yield
            if not more:
                raise ExchangeError("connection closed")
            self._buffer = self._buffer[self._at :]
            self._at, searched = 0, len(self._buffer)
            self._buffer += more
            if self._head_bytes + len(self._buffer) > self._max_head_bytes:
                raise ExchangeError("head too long")
        line = self._buffer[self._at : end]
        self._at = end + 1
        self._head_bytes += len(line) + 1
        return line.rstrip(b"\r").decode("latin-1")

    def _drop(self, count: int) -> Generator[None, bytes, None]:
        while count > len(self._buffer) - self._at:
            count -= len(self._buffer) - self._at
            self._at = 0
            self._buffer = yield
            if not self._buffer:
                raise ExchangeError("connection closed")
        self._at += count


class Reader:
    """Reads an answer from ``receive()``, which returns the next bytes, or b"" at the end."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._parser = Parser()

    def head(self) -> Answer:
        """Like :meth:`Parser.head`; also raises the errors of ``receive``."""
        return self._drive(self._parser.head())

    def drop_body(self, answer: Answer) -> None:
        """Like :meth:`Parser.body`."""
        self._drive(self._parser.body(answer))

    def _drive(self, steps: Generator[None, bytes, T]) -> T:
        try:
            next(steps)
            while True:
                steps.send(self._receive())
        except StopIteration as end:
            result: T = end.value
            return result


def _status(line: str) -> int:
    version, _, rest = line.partition(" ")
    code = rest.lstrip(" ")[:3]
    known = len(version) == 8 and version.startswith("HTTP/") and version[5].isdigit() and version[6] == "."
    if not known or len(code) != 3 or not code.isascii() or not code.isdigit():
        raise ExchangeError(f"malformed HTTP response {line!r}")
    if rest.lstrip(" ")[3:4] not in ("", " "):
        raise ExchangeError(f"malformed HTTP status code {line!r}")
    return int(code)


def _chunk_size(line: str) -> int:
    """Bytes of the chunk that follows. A negative number would make the reader go back, again and again."""
    digits = line.partition(";")[0].strip()
    if not digits or digits.strip("0123456789abcdefABCDEF"):
        raise ExchangeError("malformed chunk size")
    return int(digits, 16)
