"""HTTP listeners: an application on sockets, with bounded connections and timeouts for slow clients.

The listener accepts connections itself instead of using asyncio's server, for two reasons. At its connection
limit it leaves new connections in the kernel's queue. When the process is out of descriptors, asyncio (3.11)
retries for every place in that queue, logs an error for each, and drops the socket if the server is closed
meanwhile. This listener schedules one retry and aborts idle connections.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bbs.serving.access import AccessRule
from bbs.serving.address import BACKLOG
from bbs.serving.connections import Connections

ACCEPTED_PER_TURN: Final = 64
"""Maximum connections accepted in one turn of the event loop."""

RETRY_S: Final = 0.25
"""Pause while there is no room for a connection, no descriptor, or no memory."""

LOGGED_EVERY_S: Final = 10.0
"""Log interval of a listener that is full or has no descriptor."""

GRACE_S: Final = 1.0
"""Time for requests in progress when a listener closes."""

OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

SHOWN: Final = 200
"""Maximum characters of an error."""

logger = logging.getLogger(__name__)


class BadRequests(logging.Filter):
    """Reduces errors that clients cause, which aiohttp logs with a traceback, to one line at debug level."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        record.msg, record.args, record.exc_info = "bad-request", (), None
        record.data = {"error": " ".join(str(error).split())[:SHOWN]}
        return request_logger.isEnabledFor(logging.DEBUG)


request_logger: Final = logging.getLogger(f"{__name__}.requests")
"""For aiohttp's request handling."""
request_logger.addFilter(BadRequests())


class Acceptor:
    """Accepts the connections of one listening socket."""

    def __init__(self, listening: socket.socket, connections: Connections) -> None:
        self._listening = listening
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._logged_at = -math.inf
        self._stopped = False

    def start(self) -> None:
        """Start accepting."""
        if not self._stopped:
            self._retry = None
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def resume(self) -> None:
        """Resume after a pause: there is room again."""
        if self._retry is not None:
            self._retry.cancel()
            self.start()

    def stop(self) -> None:
        """Stop accepting and close the socket."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_PER_TURN):
            if not self._connections.has_room():
                self._pause("listener-full", f"it has {self._connections.limit} connections")
                return
            try:
                peer, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:  # an error of that one connection, see accept(2)
                    logger.info("accept-failed", extra=self._about(str(error)))
                    continue
                self._connections.cut_one()
                self._pause("accept-failed", str(error))
                return
            peer.setblocking(False)
            self._connections.begin(peer)

    def _pause(self, event: str, error: str) -> None:
        """Stop accepting and retry later."""
        self._loop.remove_reader(self._listening.fileno())
        self._retry = self._loop.call_later(RETRY_S, self.start)
        now = self._loop.time()
        if now - self._logged_at >= LOGGED_EVERY_S:
            self._logged_at = now
            logger.error(event, extra=self._about(error))

    def _about(self, error: str) -> dict[str, object]:
        return {"data": {"address": str(self._listening.getsockname()), "error": error}}


class Listener:
    """A running listener. sockets: its listening sockets."""

    def __init__(self, sockets: Sequence[socket.socket], connections: Connections) -> None:
        self.sockets = tuple(sockets)
        self._connections = connections
        self._acceptors = [Acceptor(each, connections) for each in sockets]
        connections.freed = self._resume
        for acceptor in self._acceptors:
            acceptor.start()

    async def close(self) -> None:
        """Stop accepting and close the sockets. Established connections stay."""
        for acceptor in self._acceptors:
            acceptor.stop()
        await self._connections.close()

    def _resume(self) -> None:
        for acceptor in self._acceptors:
            acceptor.resume()


@asynccontextmanager
async def serving(
    application: web.Application,
    where: socket.socket | tuple[str, int],
    tls: ssl.SSLContext | None = None,
    *,
    grace_s: float = GRACE_S,
    cancel_on_disconnect: bool = False,
    access: AccessRule | None = None,
    max_connections: int | None = None,
    head_timeout_s: float | None = None,
    body_tick_s: float | None = None,
) -> AsyncIterator[Listener]:
    """Serve on a listening socket, or on host (empty for all) and port, while the context lasts.

    The socket is closed at the end. Bodies are not decompressed, as in the Go programs. Raises OSError.

    grace_s: time for requests in progress at the end.
    cancel_on_disconnect: cancel a handler when its client disconnects.
    access: rule of a listener without TLS, None for the default :class:`AccessRule`. With TLS, peer
    certificates decide.
    max_connections, head_timeout_s, body_tick_s: None for the defaults of :mod:`bbs.serving.connections`.
    """
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=request_logger,
        handle_signals=False,
        handler_cancellation=cancel_on_disconnect,
        shutdown_timeout=grace_s,
        auto_decompress=False,
    )
    await runner.setup()
    try:
        assert runner.server is not None, "set up just now"
        connections = Connections(
            runner.server,
            tls,
            None if tls else access or _default_access(where),
            limit=max_connections,
            head_timeout_s=head_timeout_s,
            body_tick_s=body_tick_s,
        )
        sockets = [where] if isinstance(where, socket.socket) else await _bound(*where)
        listener = Listener(sockets, connections)
        try:
            yield listener
        finally:
            await listener.close()
    finally:
        await runner.cleanup()


def _default_access(where: socket.socket | tuple[str, int]) -> AccessRule:
    """The default rule: a listener on the address of a host name may be called by that name."""
    return AccessRule() if isinstance(where, socket.socket) else AccessRule(hosts=(where[0].lower(),))


async def _bound(host: str, port: int) -> list[socket.socket]:
    """Listening sockets, one for each address of the host."""
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, host or None, port, start_serving=False
    )
    sockets = [each.dup() for each in server.sockets]
    server.close()
    try:
        for each in sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets
