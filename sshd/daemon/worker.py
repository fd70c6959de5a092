"""The process that serves connections: accepts from the listener's socket while there are any.

One process for all of them. A process for each would cost 40 MB apiece in a container that may have 64, and a
client that only connects could use up all of it; here a connection costs about 100 KB and the next one starts
at once. File systems and commands are the children's, so nothing in here waits for one client alone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from sshd.daemon.children import Children
from sshd.daemon.connection import Connection
from sshd.daemon.settings import Settings
from sshd.ssh.library import asyncssh
from sshd.ssh.server import ServerLink, ServerPolicy, server_options

VERSION = "diego-sshd"

LINGER_SECONDS = 10.0
"""How long the process stays when the last connection has ended: the next one is then quick."""


RETRY_SECONDS = 0.5
"""How long to leave arriving connections alone when there is no descriptor for them."""


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
    """Accepts and counts connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.children = Children()
        self._connections: set[ServerLink] = set()
        self._changed: Callable[[], None] = lambda: None
        self._policy = ServerPolicy(
            version=VERSION,
            host_key=asyncssh.import_private_key(settings.host_key),
            algorithms=settings.algorithms,
            authenticator=lambda link: KeyAuthenticator(settings),
            ready=self._ready,
            ended=self._ended,
            idle_seconds=settings.idle_seconds,
        )
        self._options = server_options(self._policy)

    def link(self) -> ServerLink:
        """A protocol for one accepted connection."""
        link = ServerLink(self._options, self._policy)
        self._connections.add(link)
        self._changed()
        return link

    def _ready(self, link: ServerLink) -> None:
        Connection(link, self._settings, self.children)

    def _ended(self, link: ServerLink) -> None:
        self._connections.discard(link)
        self._changed()

    async def serve(self, listening: socket.socket, linger: float = LINGER_SECONDS) -> None:
        """Accept until there has been no connection for ``linger`` seconds."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        idle = asyncio.Event()
        timer: asyncio.TimerHandle | None = loop.call_later(linger, idle.set)

        def changed() -> None:
            nonlocal timer
            if self._connections and timer is not None:
                timer.cancel()
                timer = None
            elif not self._connections and timer is None:
                timer = loop.call_later(linger, idle.set)

        self._changed = changed
        self.children.start()
        async with asyncio.TaskGroup() as arrivals:
            accept = partial(self._accept, listening, arrivals)
            loop.add_reader(listening, accept)
            try:
                await idle.wait()
            finally:
                loop.remove_reader(listening)
                self.children.stop()

    def _accept(self, listening: socket.socket, arrivals: asyncio.TaskGroup) -> None:
        """Take one connection. Not asyncio's server, which may drop one that comes while it is closed."""
        loop = asyncio.get_running_loop()
        try:
            end, _ = listening.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor left: try again when some connection may have ended
            loop.remove_reader(listening)
            loop.call_later(
                RETRY_SECONDS, loop.add_reader, listening, partial(self._accept, listening, arrivals)
            )
            return
        end.setblocking(False)
        arrivals.create_task(self._attach(end, self.link()))

    async def _attach(self, end: socket.socket, link: ServerLink) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: link, end)
        except OSError:  # the client is gone already
            end.close()
            self._ended(link)
