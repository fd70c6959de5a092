"""Listeners: an HTTP application on sockets, with bounded connections and slow clients cut.

Accepting is our own, not asyncio's, for two reasons. A listener at its limit of connections leaves new ones
to the kernel's queue. And when the process is out of descriptors asyncio (3.11) tries again for every
place in that queue, with an error in the log for each, and gives up the socket when the server is closed
meanwhile; here one retry is due, and connections that wait for a request are cut.
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

from bbs.serving import requestlog
from bbs.serving.address import BACKLOG
from bbs.serving.connections import Connections
from bbs.serving.door import Door

ACCEPTED_PER_TURN: Final = 64
"""Connections taken in one turn of the event loop."""

RETRY_S: Final = 0.25
"""Pause while there is no room for a connection, or no descriptor, or no memory."""

LOGGED_EVERY_S: Final = 10.0
"""A listener that is full, or has no descriptor, says so this often."""

GRACE_S: Final = 1.0
"""For requests still being answered when a listener closes."""

OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = logging.getLogger(__name__)


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
        """Accept from now on."""
        if not self._stopped:
            self._retry = None
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def resume(self) -> None:
        """There is room again."""
        if self._retry is not None:
            self._retry.cancel()
            self.start()

    def stop(self) -> None:
        """Accept no more, and close the socket."""
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
                if error.errno not in OUT_OF_RESOURCES:  # an error of that one connection, accept(2)
                    logger.info("accept-failed", extra=self._about(str(error)))
                    continue
                self._connections.cut_one()
                self._pause("accept-failed", str(error))
                return
            peer.setblocking(False)
            self._connections.begin(peer)

    def _pause(self, event: str, error: str) -> None:
        """Try again later."""
        self._loop.remove_reader(self._listening.fileno())
        self._retry = self._loop.call_later(RETRY_S, self.start)
        now = self._loop.time()
        if now - self._logged_at >= LOGGED_EVERY_S:
            self._logged_at = now
            logger.error(event, extra=self._about(error))

    def _about(self, error: str) -> dict[str, object]:
        return {"data": {"address": str(self._listening.getsockname()), "error": error}}


class Listener:
    """A running listener. sockets: it listens on these."""

    def __init__(self, sockets: Sequence[socket.socket], connections: Connections) -> None:
        self.sockets = tuple(sockets)
        self._connections = connections
        self._acceptors = [Acceptor(each, connections) for each in sockets]
        connections.freed = self._resume
        for acceptor in self._acceptors:
            acceptor.start()

    async def close(self) -> None:
        """Take no more connections; the sockets are closed. Established connections stay."""
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
    door: Door | None = None,
    max_connections: int | None = None,
    head_timeout_s: float | None = None,
    body_tick_s: float | None = None,
) -> AsyncIterator[Listener]:
    """Serve on a listening socket, or on host (empty for all) and port, while inside. Raises OSError.

    The socket is closed at the end. grace_s: for requests still being answered then.
    cancel_on_disconnect: a handler whose client has gone is cancelled.
    door: who may ask on a listener without TLS, None for the usual :class:`Door`; with TLS the certificates
    of peers decide. Bodies are read as they are sent: like the Go programs, we do not decompress them.
    max_connections, head_timeout_s, body_tick_s: None for the usual (:mod:`bbs.serving.connections`).
    """
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=requestlog.logger,
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
            None if tls else door or _usual_door(where),
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


def _usual_door(where: socket.socket | tuple[str, int]) -> Door:
    """A listener on the address of a name may be called by that name."""
    return Door() if isinstance(where, socket.socket) else Door(hosts=(where[0].lower(),))


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
