"""Listeners as a deployment's components have them: an HTTP application with a limit for slow request heads.

A new connection has :data:`HEAD_TIMEOUT_S` for its TLS handshake and as long again until the head of its
first request is in; a later request as long from its first byte. There is no other limit: bodies, answers
and connections that idle between two requests may take their time. A connection that is late is cut, as
the Go programs do. ``aiohttp`` has no such limit, so a guard stands between each connection and it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import StreamReader, web

HEAD_TIMEOUT_S: Final = 5.0
BACKLOG: Final = 1024

logger = logging.getLogger(__name__)


class Guard(asyncio.Protocol):
    """Passes everything on to ``inner`` and cuts the connection when a request's head takes too long."""

    def __init__(self, inner: web.RequestHandler, timeout_s: float, guards: Guards) -> None:
        self._inner = inner
        self._timeout_s = timeout_s
        self._guards = guards
        self._transport: asyncio.BaseTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._body: StreamReader | None = None
        self._handling = False
        self._next_begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._guards.add(self._inner, self)
        self._arm()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._body is None or self._body.is_eof():  # else it is of the body
            if self._handling:
                self._next_begun = True
            elif self._timer is None:
                self._arm()
        self._inner.data_received(data)

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        self._guards.remove(self._inner)
        self._inner.connection_lost(exc)

    def head_read(self, request: web.BaseRequest) -> None:
        """A request is being handled."""
        self._disarm()
        self._body, self._handling, self._next_begun = request.content, True, False

    def handled(self) -> None:
        """It is not any more; of the next one a part may be there."""
        self._handling = False
        if self._next_begun and self._transport is not None and not self._transport.is_closing():
            self._arm()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._timeout_s, self._cut)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._timer = None
        if isinstance(self._transport, asyncio.Transport):
            peer = str(self._transport.get_extra_info("peername"))
            logger.debug("request-head-timeout", extra={"data": {"peer": peer, "after-s": self._timeout_s}})
            self._transport.abort()


class Guards:
    """The guards of a listener's connections; told when a request reaches the application."""

    def __init__(self, server: web.Server, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._of: dict[asyncio.BaseProtocol, Guard] = {}
        self._handle = server.request_handler
        server.request_handler = self._handle_guarded

    def __call__(self) -> Guard:
        """The protocol of a new connection."""
        return Guard(self._server(), self._timeout_s, self)

    def add(self, inner: asyncio.BaseProtocol, guard: Guard) -> None:
        self._of[inner] = guard

    def remove(self, inner: asyncio.BaseProtocol) -> None:
        self._of.pop(inner, None)

    async def _handle_guarded(self, request: web.BaseRequest) -> web.StreamResponse:
        guard = self._of.get(request.protocol)
        if guard is None:  # the connection was lost in between
            return await self._handle(request)
        guard.head_read(request)
        try:
            return await self._handle(request)
        finally:
            guard.handled()


@asynccontextmanager
async def serving(
    application: web.Application,
    where: socket.socket | tuple[str, int],
    tls: ssl.SSLContext | None = None,
    *,
    grace_s: float,
    cancel_on_disconnect: bool = False,
    head_timeout_s: float | None = None,
) -> AsyncIterator[asyncio.Server]:
    """Serve on a bound socket, or on host (empty for all) and port, while inside. Raises OSError.

    grace_s: for requests still being answered at the end. cancel_on_disconnect: a handler whose client has
    gone is cancelled. head_timeout_s: None for the usual. Gives the server, for its sockets.
    """
    timeout_s = HEAD_TIMEOUT_S if head_timeout_s is None else head_timeout_s
    handshake_s = timeout_s if tls else None
    runner = web.AppRunner(
        application,
        access_log=None,
        handle_signals=False,
        handler_cancellation=cancel_on_disconnect,
        shutdown_timeout=grace_s,
    )
    await runner.setup()
    try:
        assert runner.server is not None, "set up just now"
        guards = Guards(runner.server, timeout_s)
        loop = asyncio.get_running_loop()
        if isinstance(where, socket.socket):
            server = await loop.create_server(
                guards, sock=where, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=BACKLOG
            )
        else:
            host, port = where
            server = await loop.create_server(
                guards, host or None, port, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=BACKLOG
            )
        try:
            yield server
        finally:
            await _stop_accepting(server)
            server.close()
    finally:
        await runner.cleanup()


async def _stop_accepting(server: asyncio.Server) -> None:
    """Take no more connections, and let those just taken become known to their protocol.

    A server that is closed between the two loses them: their sockets stay open, with nobody to answer.
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    await asyncio.sleep(0)  # the tasks of what was accepted in this turn of the loop begin
    await asyncio.sleep(0)  # and the protocols hear of it
