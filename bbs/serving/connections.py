"""Connections of a listener: their number, and timeouts for slow clients.

A client has ``head_timeout_s`` for its TLS handshake and the same time again until the head of its first
request is complete. For later requests the time starts at the first byte. A body must bring
:data:`BODY_TICK_BYTES` in at least one of :data:`SLOW_TICKS` ticks, while the server is ready to read. The
connection of a late client is aborted, as in the Go programs. ``aiohttp`` has no such limits, so a
:class:`Connection` sits between each transport and aiohttp.

At the connection limit, the oldest connection without a request (or in its handshake) is aborted to make
room, if it has been idle for at least :data:`MIN_IDLE_S`. Otherwise a connection whose body was slow in the
last tick is aborted. Idle and very slow clients therefore cannot block others.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import StreamReader, web

from bbs.serving.access import AccessRule
from bbs.serving.plaintext import plain
from bbs.serving.refusals import LOGGED_CHARACTERS, RefusalLog

HEAD_TIMEOUT_S: Final = 5.0
BODY_TICK_S: Final = 5.0
BODY_TICK_BYTES: Final = 5 * 1024
"""Minimum bytes per tick: 1 KiB/s."""
SLOW_TICKS: Final = 6
"""Consecutive ticks with fewer bytes after which a body is too slow."""

MIN_IDLE_S: Final = 0.5
"""Minimum idle time before a connection without a request is aborted: its client may be about to send one."""

MIN_CONNECTIONS: Final = 64
MAX_CONNECTIONS: Final = 4096
DESCRIPTORS_PER_CONNECTION: Final = 16
"""Descriptors of the process per allowed connection: a process has up to ten listeners, and files."""

CONTINUE: Final = "100-continue"
"""The only Expect value with a meaning."""

logger = logging.getLogger(__name__)


def connection_limit() -> int:
    """Maximum connections of a listener, from the current descriptor limit of the process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(max(soft // DESCRIPTORS_PER_CONNECTION, MIN_CONNECTIONS), MAX_CONNECTIONS)


class Connection(asyncio.Protocol):
    """One connection after accept: forwards all events to aiohttp and enforces the timeouts."""

    def __init__(self, peer: socket.socket, connections: Connections) -> None:
        self.peer = peer
        self.establishing: asyncio.Task[None] | None = None
        self.begun = False  # afterwards the transport owns and closes the socket
        self._connections = connections
        self._transport: asyncio.BaseTransport | None = None
        self._inner: web.RequestHandler | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._body: StreamReader | None = None
        self._handling = False
        self._next_begun = False
        self._tick_bytes = 0
        self._slow_ticks = 0

    # -- protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner = self._connections.made(self)
        self._arm_head()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        assert self._inner is not None, "connection_made comes first"
        if self._body_is_open():
            self._tick_bytes += len(data)
        elif self._handling:
            self._next_begun = True
        elif self._timer is None:
            self._arm_head()
        self._inner.data_received(data)

    def eof_received(self) -> None:
        if self._inner is not None:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        inner, self._inner = self._inner, None
        self._connections.lost(self, inner)
        if inner is not None:
            inner.connection_lost(exc)

    # -- requests ----------------------------------------------------------------------------------------

    def head_read(self, request: web.BaseRequest) -> None:
        """A request is being handled."""
        self._disarm()
        self._body, self._handling, self._next_begun = request.content, True, False
        if self._body_is_open():
            self._slow_ticks = 0
            self._arm_body()

    def handled(self) -> None:
        """Request handling has ended; part of the next request may have arrived."""
        self._handling = False
        self._disarm()
        self._connections.body_slow(self, False)
        if self._next_begun and self._transport is not None and not self._transport.is_closing():
            self._arm_head()

    def cut(self) -> None:
        """Abort the connection, in any state."""
        self._disarm()
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()
        elif self.establishing is not None:
            self.establishing.cancel()

    # -- time --------------------------------------------------------------------------------------------

    def _body_is_open(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    def _arm_head(self) -> None:
        self._arm(self._connections.head_timeout_s, self._head_is_late)

    def _arm_body(self) -> None:
        self._tick_bytes = 0
        self._arm(self._connections.body_tick_s, self._body_tick)

    def _arm(self, after_s: float, call: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(after_s, call)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        self._log("request-head-timeout", {"after-s": self._connections.head_timeout_s})
        self.cut()

    def _body_tick(self) -> None:
        self._timer = None
        if not self._body_is_open():
            return
        # A paused transport waits for the handler: the client is not slow.
        reading = isinstance(self._transport, asyncio.Transport) and self._transport.is_reading()
        slow = reading and self._tick_bytes < BODY_TICK_BYTES
        self._slow_ticks = self._slow_ticks + 1 if slow else 0
        self._connections.body_slow(self, slow)
        if self._slow_ticks < SLOW_TICKS:
            self._arm_body()
            return
        self._log("request-body-timeout", {"bytes-in-last-tick": self._tick_bytes})
        self.cut()

    def _log(self, event: str, data: dict[str, object]) -> None:
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        logger.debug(event, extra={"data": {"peer": str(peer), **data}})


class Connections:
    """All connections of a listener, and the tasks that establish them.

    server: of the application.
    tls: None on a plain listener.
    access: rule; None accepts every request.
    limit: None for :func:`connection_limit`.
    freed: called when there is room again.
    """

    def __init__(
        self,
        server: web.Server,
        tls: ssl.SSLContext | None,
        access: AccessRule | None,
        *,
        limit: int | None,
        head_timeout_s: float | None,
        body_tick_s: float | None,
    ) -> None:
        self.limit = connection_limit() if limit is None else limit
        self.head_timeout_s = HEAD_TIMEOUT_S if head_timeout_s is None else head_timeout_s
        self.body_tick_s = BODY_TICK_S if body_tick_s is None else body_tick_s
        self.freed: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._tls = tls
        self._access = access
        self._all: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # without a request, with start time; oldest first
        self._slow: dict[Connection, None] = {}  # with a slow body; oldest first
        self._of: dict[asyncio.BaseProtocol, Connection] = {}
        self._refusals = RefusalLog(logger, logging.INFO, "request-refused")
        self._handle = server.request_handler
        server.request_handler = self._answer

    def has_room(self) -> bool:
        """Whether one more connection may be accepted; at the limit, try to abort one first."""
        return len(self._all) < self.limit or self.cut_one()

    def cut_one(self) -> bool:
        """Abort the longest idle connection, or a slow one; false if none may be aborted."""
        found = next(iter(self._waiting), None)
        if found is None or self._now() - self._waiting[found] < MIN_IDLE_S:
            found = next(iter(self._slow), None)
        if found is None:
            return False
        self._forget(found)
        found.cut()
        return True

    def begin(self, peer: socket.socket) -> None:
        """Take over an accepted connection."""
        connection = Connection(peer, self)
        self._all.add(connection)
        self._waiting[connection] = self._now()
        task = self._loop.create_task(self._establish(connection), name="accepted connection")
        connection.establishing = task
        task.add_done_callback(lambda _: self._established(connection))

    async def close(self) -> None:
        """Abort connections in their handshake; the others end with the application."""
        tasks = [each.establishing for each in self._all if each.establishing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- called by connections ---------------------------------------------------------------------------

    def made(self, connection: Connection) -> web.RequestHandler:
        """Called after the handshake; returns the application's protocol for the connection."""
        inner = self._server()
        self._of[inner] = connection
        return inner

    def body_slow(self, connection: Connection, slow: bool) -> None:
        """Record whether the body of a connection was slow in the last tick."""
        if not slow:
            self._slow.pop(connection, None)
        elif connection in self._all:
            self._slow.setdefault(connection)

    def lost(self, connection: Connection, inner: web.RequestHandler | None) -> None:
        """Called when the connection has ended."""
        if inner is not None:
            self._of.pop(inner, None)
        self._forget(connection)

    # ----------------------------------------------------------------------------------------------------

    async def _establish(self, connection: Connection) -> None:
        connection.begun = True
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                connection.peer,
                ssl=self._tls,
                ssl_handshake_timeout=self.head_timeout_s if self._tls else None,
            )
        except OSError as error:  # also handshake errors: SSLError, TimeoutError, ConnectionError
            self._forget(connection)
            logger.debug("connection-not-established", extra={"data": {"error": str(error)}})

    def _established(self, connection: Connection) -> None:
        task, connection.establishing = connection.establishing, None
        if not connection.begun:
            connection.peer.close()
        if task is None or task.cancelled():
            self._forget(connection)
        elif error := task.exception():
            self._forget(connection)
            logger.error("connection-not-established", exc_info=error)

    def _forget(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._slow.pop(connection, None)
        if connection in self._all:
            self._all.remove(connection)
            self.freed()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._access is not None and (refusal := self._access.refusal(request.headers)):
            return self._refused(request, refusal)
        if request.headers.get("Expect", CONTINUE).lower() != CONTINUE:
            # aiohttp's own response echoes the header and fails if it cannot be decoded.
            return web.Response(status=417)
        connection = self._of.get(request.protocol)
        if connection is None:  # the connection was lost meanwhile
            return await self._handle(request)
        self._waiting.pop(connection, None)
        connection.head_read(request)
        try:
            return await self._handle(request)
        except (ConnectionError, RuntimeError) as error:  # from an interrupted body or response
            if request.transport is not None and not request.transport.is_closing():
                raise
            logger.debug("client-gone", extra={"data": {"path": request.path, "error": str(error)}})
            return web.Response(status=400)  # not sent
        finally:
            connection.handled()
            if connection in self._all:
                self._waiting[connection] = self._now()

    def _refused(self, request: web.BaseRequest, why: str) -> web.Response:
        self._refusals.add(
            method=request.method,
            path=request.path[:LOGGED_CHARACTERS],
            host=request.headers.get("Host", "")[:LOGGED_CHARACTERS],
            origin=request.headers.get("Origin", "")[:LOGGED_CHARACTERS],
            error=why,
        )
        response = plain(403, why)
        response.force_close()  # the rest of the request is not read
        return response

    def _now(self) -> float:
        return self._loop.time()
