"""One probe of one port, over TCP or HTTP, as a coroutine.

A probe costs a socket: no process, no thread of its own, no session. The requests and the texts of failures
are those of the ``healthcheck`` program.

The caller makes the sockets, in the network of the container. A redirect is followed as long as it stays in
the container: ``localhost`` and loopback addresses are then the container's own. A redirect to another host
is not followed, its status is the result. No name is looked up.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, suppress
from functools import cache
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from healthcheck import failure
from healthcheck.failure import NO_INTERFACE, ProbeError
from healthcheck.reading import MAX_REQUESTS, USER_AGENT, Answer, ExchangeError, Parser

__all__ = [
    "NO_INTERFACE",
    "OpenSocket",
    "ProbeError",
    "ProbeNotMade",
    "http_check",
    "http_timeout_text",
    "tcp_check",
    "tcp_timeout_text",
]

_T = TypeVar("_T")

OpenSocket = Callable[[socket.AddressFamily], Awaitable[socket.socket]]
"""Makes a non-blocking TCP socket in the network of the container. Raises ProbeNotMade."""

_RECEIVE_BYTES = 1 << 16
MAX_HEAD_BYTES = 1 << 16
"""Of status line and headers together. The program takes more; here, reading keeps the agent busy."""
MAX_LINES = 1000
"""Of one answer: header lines, and lines between the chunks of a body."""
MAX_ANSWER_BYTES = 1 << 20
"""Of one answer, body included. The rest of a longer body is not read."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SAFE_IN_PATH = "%/:;=@!$&'()*+,~[]"
_SAFE_IN_QUERY = "%/:;=@!$&'()*+,~[]?\"<>\\^`{|}"


class ProbeNotMade(Exception):
    """The agent could not make a socket for the probe. This says nothing about the app."""


async def tcp_check(host: str, port: int, timeout: float, open_socket: OpenSocket) -> None:
    """Connect within ``timeout`` s (0: no limit of ours) and close. Raises ProbeError, ProbeNotMade."""
    try:
        async with asyncio.timeout(timeout if timeout != 0 else None):
            (await _dial(host, port, open_socket)).close()
    except TimeoutError as error:
        raise failure.tcp_timeout(host, str(port), timeout) from error
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise failure.tcp_error(host, str(port), f"dial tcp {host}:{port}: connect: {reason}") from error


async def _dial(host: str, port: int, open_socket: OpenSocket) -> socket.socket:
    """A connected socket. ``host`` is an address. Raises OSError, ProbeNotMade."""
    sock = await open_socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        if sock.getsockname() == sock.getpeername():
            # Nothing listens there, and the kernel chose the same port for our end.
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        sock.close()
        raise
    return sock


def tcp_timeout_text(host: str, port: int, timeout: float) -> str:
    """What a TCP probe says that took ``timeout`` s."""
    return str(failure.tcp_timeout(host, str(port), timeout))


def http_timeout_text(uri: str, port: int, timeout: float) -> str:
    """What an HTTP probe says that took ``timeout`` s."""
    return str(failure.http_timeout(uri, str(port), timeout))


async def http_check(host: str, port: int, uri: str, timeout: float, open_socket: OpenSocket) -> None:
    """GET ``uri``, follow redirects within the container, and pass on a final status of exactly 200.

    ``timeout`` in s, 0 or less for none, covers connection, redirects and headers. The body is read and
    dropped in the time that is left; its faults do not matter. Raises ProbeError, ProbeNotMade.
    """
    if not _is_uri(uri):
        raise failure.bad_request(uri, str(port))
    begun = time.monotonic()
    answer: Answer | None = None
    milliseconds = 0
    try:
        async with asyncio.timeout(timeout if timeout > 0 else None):
            answer, connection = await _get(host, f"http://{host}:{port}{uri}", open_socket)
            milliseconds = int((time.monotonic() - begun) * 1000)
            with closing(connection), suppress(OSError, ValueError, ExchangeError):
                await connection.drop_body(answer)
    except TimeoutError as error:
        if answer is None:
            raise failure.http_timeout(uri, str(port), timeout) from error
    except (OSError, ValueError, ExchangeError) as error:
        raise failure.http_error(uri, str(port)) from error
    if answer.status != 200:
        raise failure.http_status(uri, str(port), answer.status, milliseconds)


def _is_uri(uri: str) -> bool:
    """Whether host, port and ``uri`` written together make a URL."""
    glued_to_port = re.split("[/?#]", uri, maxsplit=1)[0]
    path = uri.partition("?")[0].partition("#")[0]
    return (
        not _CONTROL.search(uri)
        and not _BAD_ESCAPE.search(path)
        and (not glued_to_port or (glued_to_port.isascii() and glued_to_port.isdigit()))
    )


class _Connection:
    """One connection for one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = Parser(MAX_HEAD_BYTES, MAX_LINES)
        self._bytes_left = MAX_ANSWER_BYTES

    async def ask(self, request: bytes) -> Answer:
        """Send the request; the final answer's head. Raises OSError, ExchangeError."""
        self._writer.write(request)
        await self._writer.drain()
        return await self._drive(self._parser.head())

    async def drop_body(self, answer: Answer) -> None:
        """Raises OSError, ValueError, ExchangeError for a broken one."""
        await self._drive(self._parser.body(answer))

    async def _drive(self, steps: Generator[None, bytes, _T]) -> _T:
        try:
            next(steps)
            while True:
                data = await self._reader.read(_RECEIVE_BYTES)
                self._bytes_left -= len(data)
                if self._bytes_left < 0:
                    raise ExchangeError("answer too long")
                steps.send(data)
        except StopIteration as end:
            result: _T = end.value
            return result

    def close(self) -> None:
        self._writer.close()


async def _get(container: str, url: str, open_socket: OpenSocket) -> tuple[Answer, _Connection]:
    """The final answer, with the connection its body comes from."""
    referer, address = "", container
    for _ in range(MAX_REQUESTS):
        connection, request = await _connect(address, url, referer, open_socket)
        try:
            answer = await connection.ask(request)
            following = answer.location and _follow(url, answer.location)
            elsewhere = following and _address_inside(container, urlsplit(following).hostname or "")
        except BaseException:
            connection.close()
            raise
        if not following or not elsewhere:
            return answer, connection
        connection.close()
        referer, url, address = url, following, elsewhere
    raise ExchangeError(f"stopped after {MAX_REQUESTS} requests")


def _follow(url: str, location: str) -> str:
    """The URL that a redirect leads to. Raises ExchangeError, ValueError."""
    following = urljoin(url, location)
    parts = urlsplit(following)
    if _CONTROL.search(location) or _BAD_ESCAPE.search(parts.netloc + parts.path):
        raise ExchangeError(f"unusable location {location!r}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ExchangeError(f"unsupported address {following!r}")
    return following


def _address_inside(container: str, host: str) -> str:
    """The address to dial for a host that is the container itself; empty for any other host."""
    if host == container:
        return container
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_loopback or plain.is_unspecified or str(plain) == container:
        return str(plain)
    return ""


@cache
def _tls_context() -> ssl.SSLContext:
    """Trusts the system's roots; only redirects lead here, so it is made when first needed."""
    return ssl.create_default_context()


async def _connect(
    address: str, url: str, referer: str, open_socket: OpenSocket
) -> tuple[_Connection, bytes]:
    """A connection to ``address`` for one request, and the request."""
    parts = urlsplit(url)
    context = _tls_context() if parts.scheme == "https" else None
    port = parts.port if parts.port is not None else (443 if context else 80)
    sock = await _dial(address, port, open_socket)
    try:
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=parts.hostname if context else None
        )
    except BaseException:
        sock.close()
        raise
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
    return _Connection(reader, writer), "\r\n".join([*headers, "", ""]).encode()
