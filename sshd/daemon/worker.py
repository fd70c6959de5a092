"""The worker process: accepts from the listener's socket and serves all connections.

One process serves all connections. One process per connection would cost 35 MB each in a container that may
have 64 MB, or 7.5 MB if forked from a process that has loaded the SSH library; clients that only connect
could then exhaust the container's memory. In one process a connection costs about 100 KB and starts at once.

Connections are isolated by other means. Children handle file systems and commands, so the worker never waits
for one client. The memory of a connection is bounded by its channel windows, its unread answers and its
variables. The number of connections is bounded, with a lower limit for unauthenticated ones. A fault in the
handling of a packet ends only its connection. If the worker ends, the listener starts another one with the
next connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from sshd.daemon.children import Children
from sshd.daemon.connection import Connection
from sshd.daemon.settings import Settings, read_settings
from sshd.preparation import Prepared
from sshd.records import ERROR, Records
from sshd.ssh.connections import Connections, affordable
from sshd.ssh.library import asyncssh
from sshd.ssh.server import ServerLink, ServerPolicy

VERSION = "diego-sshd"

MAX_CONNECTIONS = 100
"""Further connections wait in the listener's queue. The proxy's limit for one instance is lower."""

MAX_UNAUTHENTICATED = 32
"""Limit of unauthenticated connections; their memory counts against the app."""

LINGER_SECONDS = 10.0
"""Seconds without connections before the process exits; until then the next connection starts faster."""


class KeyAuthenticator:
    """Accepts the one authorized key, or every client."""

    method = b"publickey"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def accepts_none(self, user: str) -> bool:
        return self._settings.allow_unauthenticated

    def accepts_key(self, user: str, key_blob: bytes) -> bool:
        return self._settings.authorized_key is not None and key_blob == self._settings.authorized_key

    async def accepts_password(self, user: str, password: str) -> bool:
        return False

    def refused(self, user: str, method: str) -> None:
        """Not logged: the daemon's log is the app's log."""


class Worker:
    """Serves connections that share the same settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.children = Children()
        self._changed: Callable[[int], None] = lambda _: None
        policy = ServerPolicy(
            version=VERSION,
            host_key=asyncssh.import_private_key(settings.host_key),
            algorithms=settings.algorithms,
            authenticator=lambda link: KeyAuthenticator(settings),
            ready=self._ready,
            ended=lambda _: None,
            idle_seconds=settings.idle_seconds,
            login_seconds=settings.login_seconds,
        )
        self._connections = Connections(
            policy,
            lambda count: self._changed(count),
            min(affordable(1), MAX_CONNECTIONS),
            MAX_UNAUTHENTICATED,
        )

    def _ready(self, link: ServerLink) -> None:
        Connection(link, self._settings, self.children)

    async def serve(self, listening: socket.socket, linger: float = LINGER_SECONDS) -> None:
        """Accept until there has been no connection for ``linger`` seconds."""
        loop = asyncio.get_running_loop()
        idle = asyncio.Event()
        timer: asyncio.TimerHandle | None = loop.call_later(linger, idle.set)

        def changed(count: int) -> None:
            nonlocal timer
            if count and timer is not None:
                timer.cancel()
                timer = None
            elif not count and timer is None:
                timer = loop.call_later(linger, idle.set)

        self._changed = changed
        self.children.start()
        try:
            async with self._connections.accepting(listening):
                while True:
                    await idle.wait()
                    if not self._connections:
                        return
                    idle.clear()  # a connection arrived during the time-out
        finally:
            self.children.stop()


def run(prepared: Prepared, listening: socket.socket, alive: int) -> int:
    """Serve until no client is connected. The process exits at once when the pipe ``alive`` closes."""
    records = Records("sshd", int(str(prepared["log_level"])), bool(prepared["rfc3339"]))
    asyncio.run(_serve(read_settings(prepared), listening, alive, records))
    records.close()
    return 0


async def _serve(settings: Settings, listening: socket.socket, alive: int, records: Records) -> None:
    loop = asyncio.get_running_loop()
    loop.add_reader(alive, os._exit, 0)

    def unexpected(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or context.get("message")
        records.write(ERROR, "server.unexpected-error", error=repr(error))

    loop.set_exception_handler(unexpected)
    await Worker(settings).serve(listening)
