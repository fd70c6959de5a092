"""HTTP response that is read incrementally, such as an event stream.

It uses h11 instead of aiohttp: a Go BBS writes ``;`` after each chunk size (an empty chunk extension), which
aiohttp's compiled parser rejects.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

import h11

READ_SIZE = 65536
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

KEEPALIVE_S = 15
"""Idle seconds before TCP keepalive, and the interval of its probes: the default of Go's dialer. The stream
itself is silent without events."""

ProtocolError = h11.ProtocolError
"""The server closed the connection early or does not speak HTTP, or the request is invalid in HTTP."""


class BadURL(OSError):
    """A URL that names no server."""


class HeadTimeout(TimeoutError):
    """A server accepted a request, but the response head did not arrive in time."""


class StreamingResponse:
    """An open request and its response. status, headers: of the response, with lower-case header names."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(our_role=h11.CLIENT)
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(
        cls,
        method: str,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None,
        dial_timeout_s: float,
        head_timeout_s: float | None = None,
    ) -> Self:
        """Send a request and wait for the response head. head_timeout_s: None for no limit.

        Raises :class:`OSError` if no connection can be made, :class:`HeadTimeout` if the head does not arrive
        in time, :class:`ProtocolError` if there is no response on the connection.
        """
        parts, port = _server(url)
        secure = (ssl_context or ssl.create_default_context()) if parts.scheme == "https" else None
        try:
            async with asyncio.timeout(dial_timeout_s):
                reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
        except UnicodeError as error:  # a label of the name is empty or too long
            raise BadURL(f"{parts.hostname} cannot be the name of a host") from error
        response = cls(reader, writer)
        try:
            _keep_alive(writer.get_extra_info("socket"))
            async with asyncio.timeout(head_timeout_s):
                await response._request(method, parts.path, {"Host": parts.netloc, **(headers or {})}, body)
        except TimeoutError as error:
            response.close()
            if head_timeout_s is None:  # a timeout of the kernel
                raise
            raise HeadTimeout(f"no answer within {head_timeout_s:g} s") from error
        except BaseException:
            response.close()
            raise
        return response

    def close(self) -> None:
        """Abort the connection."""
        self._writer.transport.abort()

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end.

        Raises :class:`ProtocolError` or :class:`OSError` if the connection breaks before the end.
        """
        event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        if body or method == "POST":
            headers["Content-Length"] = str(len(body))
        request = h11.Request(method=method, target=target, headers=list(headers.items()))
        self._writer.write(self._http.send(request) or b"")
        self._writer.write(self._http.send(h11.Data(data=body)) or b"")
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        await self._writer.drain()
        event = await self._next_event()
        while not isinstance(event, h11.Response):  # informational responses; h11 raises on anything else
            event = await self._next_event()
        self.status = event.status_code
        self.headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}

    async def _next_event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            data = await self._reader.read(READ_SIZE)
            if not data and self._http.their_state is h11.SEND_RESPONSE:
                raise ConnectionResetError("the server closed the connection without an answer")
            self._http.receive_data(data)


def _server(url: str) -> tuple[SplitResult, int]:
    """The parts of a URL, and the port. Raises BadURL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadURL(f"not a URL: {error}") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise BadURL("not an http or https URL with a host")
    return parts, port or DEFAULT_PORTS[parts.scheme]


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
