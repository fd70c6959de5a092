"""One TCP or HTTP probe of one port, as a coroutine.

A probe costs one socket. It needs no process, no thread and no session. Requests and failure texts are the
same as in the ``healthcheck`` program.

The caller makes the sockets in the container's network namespace, so ``localhost`` and loopback addresses are
those of the container. A redirect is followed only within the container. For a redirect to another host, the
status of the redirect is the result. Names are never looked up.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, suppress
from functools import cache, lru_cache
from ipaddress import ip_address
from typing import TypeVar

from common.goerrors import dial_failed
from common.gourl import URL
from healthcheck import failure
from healthcheck.exchange import check_url, follow, request, target_port
from healthcheck.failure import NO_INTERFACE, ProbeError
from healthcheck.reading import MAX_REQUESTS, Answer, ExchangeError, Parser

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
"""Makes a non-blocking TCP socket in the container's network namespace. Raises ProbeNotMade."""

_RECEIVE_BYTES = 1 << 16
MAX_HEAD_BYTES = 1 << 16
"""Limit of status line and headers together. It is below the program's, because reading costs agent time."""
MAX_LINES = 1000
"""Limit of header lines and of lines between the chunks of a body, together, per answer."""
MAX_ANSWER_BYTES = 1 << 20
"""Limit of one answer, body included. The rest of a longer body is not read."""

MAX_LOCATION = 8192
"""Limit of a redirect's target, in characters. Parsing takes time of the agent."""

_check_url = lru_cache(1024)(check_url)
"""The same few URLs are checked again and again."""


class ProbeNotMade(Exception):
    """The agent could not make a socket for the probe. The app is not at fault."""


async def tcp_check(host: str, port: int, timeout: float, open_socket: OpenSocket) -> None:
    """Connect within ``timeout`` s (0: no timeout) and close. Raises ProbeError, ProbeNotMade."""
    try:
        async with asyncio.timeout(timeout if timeout != 0 else None):
            (await _dial(host, port, open_socket)).close()
    except TimeoutError as error:
        raise failure.tcp_timeout(host, str(port), timeout) from error
    except OSError as error:
        raise failure.tcp_error(host, str(port), dial_failed(host, port, error)) from error


async def _dial(host: str, port: int, open_socket: OpenSocket) -> socket.socket:
    """A connected socket. ``host`` is an address. Raises OSError, ProbeNotMade."""
    sock = await open_socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        if sock.getsockname() == sock.getpeername():
            # Nothing listens there: the kernel chose the same source port, so the socket connected to itself.
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        sock.close()
        raise
    return sock


def tcp_timeout_text(host: str, port: int, timeout: float) -> str:
    """Error text of a TCP probe that timed out after ``timeout`` s."""
    return str(failure.tcp_timeout(host, str(port), timeout))


def http_timeout_text(uri: str, port: int, timeout: float) -> str:
    """Error text of an HTTP probe that timed out after ``timeout`` s."""
    return str(failure.http_timeout(uri, str(port), timeout))


async def http_check(host: str, port: int, uri: str, timeout: float, open_socket: OpenSocket) -> None:
    """GET ``uri``, follow redirects within the container, and pass if the final status is exactly 200.

    ``timeout`` in s covers connection, redirects and headers; 0 or less means no timeout. The body is read
    and dropped in the remaining time; errors in it are ignored. Raises ProbeError, ProbeNotMade.
    """
    url = _check_url(host, str(port), uri)
    if url is None:
        raise failure.bad_request(uri, str(port))
    begun = time.monotonic()
    answer: Answer | None = None
    milliseconds = 0
    try:
        async with asyncio.timeout(timeout if timeout > 0 else None):
            answer, connection = await _get(host, url, open_socket)
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


class _Connection:
    """One connection for one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = Parser(MAX_HEAD_BYTES, MAX_LINES)
        self._bytes_left = MAX_ANSWER_BYTES

    async def ask(self, request: bytes) -> Answer:
        """Send the request and return the head of the final answer. Raises OSError, ExchangeError."""
        self._writer.write(request)
        await self._writer.drain()
        return await self._drive(self._parser.head())

    async def drop_body(self, answer: Answer) -> None:
        """Read and drop the body. Raises OSError, ValueError, ExchangeError for a broken body."""
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


async def _get(container: str, url: URL, open_socket: OpenSocket) -> tuple[Answer, _Connection]:
    """The final answer, and the connection that carries its body."""
    previous, address = None, container
    for _ in range(MAX_REQUESTS):
        connection = await _connect(address, url, open_socket)
        try:
            answer = await connection.ask(request(url, previous))
            following = _following(url, answer.location)
            host = following.hostname_and_port()[0] if following else ""
            elsewhere = _address_inside(container, host.lower())
        except BaseException:
            connection.close()
            raise
        if following is None or not elsewhere:
            return answer, connection
        connection.close()
        previous, url, address = url, following, elsewhere
    raise ExchangeError(f"stopped after {MAX_REQUESTS} requests")


def _following(url: URL, location: str) -> URL | None:
    """The target of a redirect. Raises ExchangeError, also for a target that is too long for the agent."""
    if len(location) > MAX_LOCATION:
        raise ExchangeError("Location too long")
    return follow(url, location) if location else None


def _address_inside(container: str, host: str) -> str:
    """The address to dial if ``host`` is the container itself; empty for any other host."""
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
    """A context that trusts the system's roots. It is made on first use: only redirects need it."""
    return ssl.create_default_context()


async def _connect(address: str, url: URL, open_socket: OpenSocket) -> _Connection:
    """A connection to ``address`` for one request."""
    host, _ = url.hostname_and_port()
    context = _tls_context() if url.scheme == "https" else None
    sock = await _dial(address, target_port(url), open_socket)
    try:
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=host if context else None
        )
    except BaseException:
        sock.close()
        raise
    return _Connection(reader, writer)
