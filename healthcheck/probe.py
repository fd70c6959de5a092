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
from collections.abc import Generator
from contextlib import closing, suppress
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from healthcheck import failure
from healthcheck.failure import NO_INTERFACE, ProbeError
from healthcheck.reading import MAX_REQUESTS, USER_AGENT, Answer, ExchangeError, Parser

__all__ = ["NO_INTERFACE", "ProbeError", "http_check", "http_timeout_text", "tcp_check", "tcp_timeout_text"]

_T = TypeVar("_T")

_RECEIVE_BYTES = 1 << 16
MAX_HEAD_BYTES = 1 << 20
"""Of status line and headers together: less than the program takes, as reading them keeps the agent busy."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SAFE_IN_PATH = "%/:;=@!$&'()*+,~[]"
_SAFE_IN_QUERY = "%/:;=@!$&'()*+,~[]?\"<>\\^`{|}"


async def tcp_check(host: str, port: int, timeout: float) -> None:
    """Connect within ``timeout`` s (0: no limit of ours) and close. Raises ProbeError."""
    try:
        async with asyncio.timeout(timeout if timeout != 0 else None):
            with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as sock:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except TimeoutError as error:
        raise failure.tcp_timeout(host, str(port), timeout) from error
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise failure.tcp_error(host, str(port), f"dial tcp {host}:{port}: connect: {reason}") from error


def tcp_timeout_text(host: str, port: int, timeout: float) -> str:
    """What a TCP probe says that took ``timeout`` s."""
    return str(failure.tcp_timeout(host, str(port), timeout))


def http_timeout_text(uri: str, port: int, timeout: float) -> str:
    """What an HTTP probe says that took ``timeout`` s."""
    return str(failure.http_timeout(uri, str(port), timeout))


async def http_check(host: str, port: int, uri: str, timeout: float) -> None:
    """GET ``uri``, follow redirects, and pass on a final status of exactly 200. Raises ProbeError.

    ``timeout`` in s, 0 or less for none, covers connection, redirects and headers; the body is read and
    dropped in what is left of it, and whatever happens to it does not matter.
    """
    if not _is_uri(uri):
        raise failure.bad_request(uri, str(port))
    begun = time.monotonic()
    answer: Answer | None = None
    milliseconds = 0
    try:
        async with asyncio.timeout(timeout if timeout > 0 else None):
            answer, connection = await _get(host, f"http://{host}:{port}{uri}")
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
        self._parser = Parser(MAX_HEAD_BYTES)

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
                steps.send(await self._reader.read(_RECEIVE_BYTES))
        except StopIteration as end:
            result: _T = end.value
            return result

    def close(self) -> None:
        self._writer.close()


async def _get(container: str, url: str) -> tuple[Answer, _Connection]:
    """The final answer, with the connection its body comes from."""
    referer = ""
    for _ in range(MAX_REQUESTS):
        connection, request = await _connect(container, url, referer)
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.close()
            raise
        if not answer.location:
            return answer, connection
        connection.close()
        referer, url = url, urljoin(url, answer.location)
        if _CONTROL.search(answer.location) or _BAD_ESCAPE.search(urlsplit(url).path):
            raise ExchangeError(f"unusable location {answer.location!r}")
    raise ExchangeError(f"stopped after {MAX_REQUESTS} requests")


@cache
def _tls_context() -> ssl.SSLContext:
    """Trusts the system's roots; only redirects lead here, so it is made when first needed."""
    return ssl.create_default_context()


async def _connect(container: str, url: str, referer: str) -> tuple[_Connection, bytes]:
    """A connection for one request, and the request."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ExchangeError(f"unsupported address {url!r}")
    context = _tls_context() if parts.scheme == "https" else None
    port = parts.port if parts.port is not None else (443 if context else 80)
    address = await _address(container, parts.hostname, port)
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=parts.hostname if context else None
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
    return _Connection(reader, writer), "\r\n".join([*headers, "", ""]).encode()


async def _address(container: str, host: str, port: int) -> str:
    """Where a request for ``host`` goes. Raises OSError.

    A redirect may lead anywhere, but what a container calls its own machine is the container and not the one
    that we run on, whose services would otherwise answer to apps.
    """
    if host == container:
        return container
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    address = str(found[0][4][0])
    return container if local_to_its_machine(address) else address


def local_to_its_machine(address: str) -> bool:
    """Whether an address means another machine to everybody: loopback, unspecified, link-local."""
    value = ip_address(address.partition("%")[0])
    if isinstance(value, IPv6Address) and value.ipv4_mapped is not None:
        value = value.ipv4_mapped
    return value.is_loopback or value.is_unspecified or value.is_link_local
