"""The process that serves connections: accepts from the listener's socket while there are any.

One process serves all of them. A process for each would cost 35 MB apiece in a container that may have 64, or
7.5 MB of its own where it is forked from one that has loaded the SSH library already, and clients that only
connect could use up all of the container; here a connection costs about 100 KB, and the next one starts at
once.

What a process for each would keep apart is kept apart by other means. File systems and commands are the
children's, so nothing in here waits for one client alone. What a connection may have kept is bounded: by the
windows of its channels, the answers it does not read, the variables it sends. The number of connections is
bounded too, and that of strangers more tightly. A fault in the handling of a packet ends its connection only,
and if this process ends, the listener starts another with the next connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from sshd.daemon.children import Children
from sshd.daemon.connection import Connection
from sshd.daemon.settings import Settings
from sshd.ssh.connections import Connections, affordable
from sshd.ssh.library import asyncssh
from sshd.ssh.server import ServerLink, ServerPolicy

VERSION = "diego-sshd"

MAX_CONNECTIONS = 100
"""More wait to be accepted. The proxy has a lower limit for one instance."""

MAX_STRANGERS = 32
"""Connections that are not authenticated; their memory is the app's."""

LINGER_SECONDS = 10.0
"""How long the process stays when the last connection has ended: the next one is then quick."""


class KeyAuthenticator:
    """The one authorized key, or anybody."""

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
        """Of no interest: the daemon's log is the app's."""


class Worker:
    """Serves connections, each with the same settings."""

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
            policy, lambda count: self._changed(count), min(affordable(1), MAX_CONNECTIONS), MAX_STRANGERS
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
                    idle.clear()  # somebody came at the last moment
        finally:
            self.children.stop()
