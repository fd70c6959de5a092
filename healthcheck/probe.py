"""One probe of one port, over TCP or HTTP, as a coroutine.

An attempt costs a socket and nothing else: no process, no thread, no session that would have to be kept.
What is asked of an app and every text of a failure are those of the ``healthcheck`` program.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, urljoin, urlsplit

USER_AGENT = "diego-healthcheck"
MAX_REQUESTS = 10
"""Requests of one attempt, redirects included."""
MAX_LINE_BYTES = 1 << 20
"""Of a status line or a header."""
MAX_HEADERS = 1000

NO_INTERFACE = 3
TCP_ERROR = 4
HTTP_ERROR = 5
HTTP_STATUS = 6
TCP_TIMEOUT = 64
HTTP_TIMEOUT = 65

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_BODY = frozenset({204, 304})
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d{3})(?: .*)?")
_SAFE_IN_PATH = "%/:;=@!$&'()*+,~[]"
_SAFE_IN_QUERY = "%/:;=@!$&'()*+,~[]?\"<>\\^`{|}"


class ProbeError(Exception):
    """A probe did not pass. ``str()`` is the program's text, ``exit_code`` the exit code it has there."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class _RequestTrouble(Exception):
    """Anything that goes wrong with a request, except its time."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[bytes, bytes]


async def tcp_check(host: str, port: int, timeout: float) -> None:
    """Connect within ``timeout`` s (0: no limit of ours) and close. Raises ProbeError."""
    try:
        async with asyncio.timeout(timeout if timeout != 0 else None):
            with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as sock:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except TimeoutError as error:
        reason = tcp_timeout_text(host, port, timeout)
        raise ProbeError(reason, TCP_TIMEOUT) from error
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        text = f"failed to make TCP connection to {host}:{port}: dial tcp {host}:{port}: connect: {reason}"
        raise ProbeError(text, TCP_ERROR) from error


def tcp_timeout_text(host: str, port: int, timeout: float) -> str:
    """What a TCP probe says that took ``timeout`` s."""
    return f"failed to make TCP connection to {host}:{port}: timed out after {timeout:.2f} seconds"


def http_timeout_text(uri: str, port: int, timeout: float) -> str:
    """What an HTTP probe says that took ``timeout`` s."""
    return f"failed to make HTTP request to '{uri}' on port {port}: timed out after {timeout:.2f} seconds"


async def http_check(host: str, port: int, uri: str, timeout: float) -> None:
    """GET ``uri``, follow redirects, and pass on a final status of exactly 200. Raises ProbeError.

    ``timeout`` in s, 0 or less for none, covers connection, redirects and headers; the body is read and
    dropped in what is left of it, and whatever happens to it does not matter.
    """
    request = f"failed to make HTTP request to '{uri}' on port {port}"
    if not _is_uri(uri):
        raise ProbeError(f"failed to create an HTTP request to '{uri}' on port {port}", HTTP_STATUS)
    begun = time.monotonic()
    answer: _Answer | None = None
    milliseconds = 0
    try:
        async with asyncio.timeout(timeout if timeout > 0 else None):
            answer, reader, writer = await _get(f"http://{host}:{port}{uri}")
            milliseconds = int((time.monotonic() - begun) * 1000)
            with closing(writer), suppress(OSError, ValueError, EOFError, asyncio.LimitOverrunError):
                await _drop_body(answer, reader)
    except TimeoutError as error:
        if answer is None:
            raise ProbeError(http_timeout_text(uri, port, timeout), HTTP_TIMEOUT) from error
    except (OSError, ValueError, EOFError, ssl.SSLError, _RequestTrouble) as error:
        raise ProbeError(f"{request}: connection refused", HTTP_ERROR) from error
    if answer.status != 200:
        raise ProbeError(f"{request}: received status code {answer.status} in {milliseconds}ms", HTTP_STATUS)


def _is_uri(uri: str) -> bool:
    """Whether host, port and ``uri`` written together make a URL."""
    glued_to_port = re.split("[/?#]", uri, maxsplit=1)[0]
    path = uri.partition("?")[0].partition("#")[0]
    return (
        not _CONTROL.search(uri)
        and not _BAD_ESCAPE.search(path)
        and (not glued_to_port or (glued_to_port.isascii() and glued_to_port.isdigit()))
    )


async def _get(url: str) -> tuple[_Answer, asyncio.StreamReader, asyncio.StreamWriter]:
    """The final answer, with the connection its body comes from."""
    referer = ""
    for _ in range(MAX_REQUESTS):
        reader, writer, request = await _connect(url, referer)
        try:
            writer.write(request)
            await writer.drain()
            answer = await _read_head(reader)
        except BaseException:
            writer.close()
            raise
        location = answer.headers.get(b"location", b"").decode("latin-1")
        if answer.status not in _REDIRECTS or not location:
            return answer, reader, writer
        writer.close()
        referer, url = url, urljoin(url, location)
        if _CONTROL.search(location) or _BAD_ESCAPE.search(urlsplit(url).path):
            raise _RequestTrouble(f"unusable location {location!r}")
    raise _RequestTrouble(f"stopped after {MAX_REQUESTS} requests")


@cache
def _tls_context() -> ssl.SSLContext:
    """Trusts the system's roots; only redirects lead here, so it is made when first needed."""
    return ssl.create_default_context()


async def _connect(url: str, referer: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """A connection for one request, and the request."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _RequestTrouble(f"unsupported address {url!r}")
    context = _tls_context() if parts.scheme == "https" else None
    port = parts.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=context, limit=MAX_LINE_BYTES, family=socket.AF_UNSPEC
    )
    target = quote(parts.path, safe=_SAFE_IN_PATH) or "/"
    if parts.query or "?" in url.partition("#")[0]:
        target += "?" + quote(parts.query, safe=_SAFE_IN_QUERY)
    headers = [
        f"GET {target} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        f"User-Agent: {USER_AGENT}",
        "X-Forwarded-Proto: https",
        "Accept-Encoding: gzip",
    ]
    if referer and not (referer.startswith("https:") and not context):
        headers.append(f"Referer: {referer.partition('#')[0]}")
    return reader, writer, "\r\n".join([*headers, "", ""]).encode()


async def _read_head(reader: asyncio.StreamReader) -> _Answer:
    """Status and headers; informational answers are passed over."""
    while True:
        match = _STATUS_LINE.fullmatch((await _read_line(reader)).rstrip())
        if match is None:
            raise _RequestTrouble("malformed status line")
        headers: dict[bytes, bytes] = {}
        for _ in range(MAX_HEADERS):
            line = await _read_line(reader)
            if not line:
                break
            name, colon, value = line.partition(b":")
            if not colon:
                raise _RequestTrouble("malformed header")
            headers.setdefault(name.strip().lower(), value.strip())
        else:
            raise _RequestTrouble("too many headers")
        status = int(match.group(1))
        if not 100 <= status < 200 or status == 101:
            length = headers.get(b"content-length", b"0")
            if not length.isdigit():
                raise _RequestTrouble("malformed content length")
            return _Answer(status, headers)


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise _RequestTrouble("connection closed")
    return line.rstrip(b"\r\n")


async def _drop_body(answer: _Answer, reader: asyncio.StreamReader) -> None:
    """Read the body to its end. Raises what comes of a broken one."""
    if answer.status in _NO_BODY:
        return
    if answer.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        while size := int((await reader.readline()).partition(b";")[0], 16):
            await reader.readexactly(size + 2)
    elif b"content-length" in answer.headers:
        left = int(answer.headers[b"content-length"])
        while left and (data := await reader.read(min(left, 1 << 16))):
            left -= len(data)
    else:
        while await reader.read(1 << 16):
            pass
