"""HTTP as far as a check needs it: one GET, its redirects, the final status. Bytes only, no sockets.

``Reader`` is fed by whoever has the connection.
"""

from __future__ import annotations

from lifecycle.gourl import URL, URLError, parse, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

USER_AGENT = "diego-healthcheck"
MAX_REQUESTS = 10
"""Requests of one attempt, redirects included."""
MAX_HEAD_BYTES = 10 << 20
"""Of status line and headers together."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DIGITS = frozenset("0123456789")


class ExchangeError(Exception):
    """An answer, or a redirect, that cannot be used."""


class Answer:
    """Status and headers; names in lower case, of repeated ones the first."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers

    @property
    def location(self) -> str:
        """Where to go instead, empty when this answer is final."""
        return self.headers.get("location", "") if self.status in _REDIRECTS else ""


def check_url(host: str, port: str, uri: str) -> URL | None:
    """The URL that host, port and ``uri`` written together make; None if they make none."""
    glued = port
    for character in uri:
        if character in "/?#":
            break
        glued += character
    if any(character not in _DIGITS for character in glued):
        return None
    try:
        return parse(f"http://{host}:{port}{uri}")
    except URLError:
        return None


def follow(url: URL, location: str) -> URL:
    """The URL of a redirect. Raises ExchangeError for one that cannot be followed."""
    try:
        target = resolve(url, location)
    except URLError as error:
        raise ExchangeError(f"failed to parse Location header {location!r}: {error}") from error
    if target.scheme not in ("http", "https"):
        raise ExchangeError(f"unsupported protocol scheme {target.scheme!r}")
    if not target.host:
        raise ExchangeError("no host in request URL")
    return target


def request(url: URL, previous: URL | None) -> bytes:
    """The GET for ``url``, arrived at from ``previous``."""
    lines = [
        f"GET {url.request_target()} HTTP/1.1",
        f"Host: {url.authority()}",
        f"User-Agent: {USER_AGENT}",
        "X-Forwarded-Proto: https",
        "Accept-Encoding: gzip",
    ]
    if previous is not None and not (previous.scheme == "https" and url.scheme == "http"):
        referer = previous.without_user()
        referer.fragment = ""
        lines.append(f"Referer: {str(referer).encode('utf-8', 'surrogateescape').decode('latin-1')}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Reader:
    """Reads an answer from ``receive()``, which gives the next bytes and b"" at the end."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._buffer = b""
        self._head_bytes = 0

    def head(self) -> Answer:
        """The final answer's head; informational ones are passed over. Raises ExchangeError."""
        while True:
            status = _status(self._line())
            headers: dict[str, str] = {}
            while line := self._line():
                name, colon, value = line.partition(":")
                if not colon:
                    raise ExchangeError("malformed header line")
                headers.setdefault(name.strip().lower(), value.strip())
            if 100 <= status < 200 and status != 101:
                continue
            length = headers.get("content-length", "0")
            if not length.isascii() or not length.isdigit():
                raise ExchangeError("bad Content-Length")
            return Answer(status, headers)

    def drop_body(self, answer: Answer) -> None:
        """Read the body to its end. Raises ExchangeError or ValueError for a broken one."""
        if answer.status in (101, 204, 304):
            return
        if answer.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self._line().partition(";")[0], 16):
                self._drop(size)
                self._line()
        elif "content-length" in answer.headers:
            self._drop(int(answer.headers["content-length"]))
        else:
            while self._receive():
                pass

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            more = self._receive()
            if not more:
                raise ExchangeError("connection closed")
            self._buffer += more
            if self._head_bytes + len(self._buffer) > MAX_HEAD_BYTES:
                raise ExchangeError("head too long")
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._head_bytes += len(line) + 1
        return line.rstrip(b"\r").decode("latin-1")

    def _drop(self, count: int) -> None:
        while count > len(self._buffer):
            count -= len(self._buffer)
            self._buffer = self._receive()
            if not self._buffer:
                raise ExchangeError("connection closed")
        self._buffer = self._buffer[count:]


def _status(line: str) -> int:
    version, _, rest = line.partition(" ")
    code = rest.lstrip(" ")[:3]
    known = len(version) == 8 and version.startswith("HTTP/") and version[5].isdigit() and version[6] == "."
    if not known or len(code) != 3 or not code.isascii() or not code.isdigit():
        raise ExchangeError(f"malformed HTTP response {line!r}")
    if rest.lstrip(" ")[3:4] not in ("", " "):
        raise ExchangeError(f"malformed HTTP status code {line!r}")
    return int(code)
