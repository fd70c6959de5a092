"""All connections of one server, with limits.

The number of unauthenticated connections is bounded, so that they cannot use up the memory and descriptors of
authenticated ones. Above the limit, one of them is dropped at random for each new one, preferably one that
has not completed its key exchange: a client whose password is being checked stays. The random choice keeps a
flood from dropping a particular connection, which it could if the oldest were dropped. New connections are
accepted, so that idle ones cannot lock others out. If there are too many authenticated connections, new ones
wait in the listener's queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from sshd.ssh.server import ServerLink, ServerPolicy, server_options

MAX_UNAUTHENTICATED = 1000
"""Default limit of unauthenticated connections per server; each may cost 250 KB."""

RETRY_SECONDS = 0.5
"""Pause of accepting when no descriptor is available."""


def affordable(descriptors_each: int) -> int:
    """The number of connections that the descriptor limit permits; a quarter is reserved for other uses."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_UNAUTHENTICATED * 1000
    return max(1, soft * 3 // 4 // descriptors_each)


class Connections:
    """Accepts and counts connections. ``changed`` is called with each new count."""

    def __init__(
        self,
        policy: ServerPolicy,
        changed: Callable[[int], None],
        most: int,
        max_unauthenticated: int = MAX_UNAUTHENTICATED,
    ) -> None:
        self._policy = replace(policy, ready=self._ready, ended=self._ended)
        self._program_ready = policy.ready
        self._program_ended = policy.ended
        self._options = server_options(self._policy)
        self._changed = changed
        self._most = most
        self._max_unauthenticated = min(most, max_unauthenticated)
        self._links: set[ServerLink] = set()
        self._unauthenticated: set[ServerLink] = set()
        self._resume: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._links)

    @asynccontextmanager
    async def accepting(self, listening: socket.socket) -> AsyncIterator[None]:
        """Accept inside the context; all connections are closed at its end. Unaccepted ones stay queued.

        asyncio's server is not used: it may drop a connection that arrives while it closes.
        """
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        retry: asyncio.TimerHandle | None = None

        def accept() -> None:
            nonlocal retry
            if not self._make_room():
                loop.remove_reader(listening)
                return
            try:
                end, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor available
                if not self._drop_unauthenticated():
                    loop.remove_reader(listening)
                    retry = loop.call_later(RETRY_SECONDS, self._resume)
                return
            end.setblocking(False)
            link = ServerLink(self._options, self._policy)
            self._links.add(link)
            self._changed(len(self._links))
            arriving = arrivals.create_task(self._attach(link, end))
            arriving.add_done_callback(partial(self._attached, link, end))

        async with asyncio.TaskGroup() as arrivals:
            self._resume = lambda: loop.add_reader(listening, accept)
            self._resume()
            try:
                yield
            finally:
                self._resume = lambda: None
                if retry is not None:
                    retry.cancel()
                loop.remove_reader(listening)
                for link in list(self._links):
                    link.abort()

    async def _attach(self, link: ServerLink, end: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client is gone
            await asyncio.get_running_loop().connect_accepted_socket(lambda: link, end)
            if link in self._links:
                self._unauthenticated.add(link)

    def _attached(self, link: ServerLink, end: socket.socket, _: asyncio.Task[None]) -> None:
        """The attempt ended; if it was cancelled or failed, close its socket."""
        if link.lost():
            end.close()
            self._ended(link)

    def _make_room(self) -> bool:
        """Whether one more connection can be accepted."""
        if len(self._unauthenticated) >= self._max_unauthenticated:
            return self._drop_unauthenticated()
        return len(self._links) < self._most or self._drop_unauthenticated()

    def _drop_unauthenticated(self) -> bool:
        """Drop one if there is one. It no longer counts, although it ends a little later."""
        if not self._unauthenticated:
            return False
        idle = [candidate for candidate in self._unauthenticated if not candidate.is_encrypted]
        dropped = random.choice(idle or list(self._unauthenticated))
        self._unauthenticated.discard(dropped)
        dropped.abort()
        return True

    def _ready(self, link: ServerLink) -> None:
        self._unauthenticated.discard(link)
        self._program_ready(link)

    def _ended(self, link: ServerLink) -> None:
        self._unauthenticated.discard(link)
        if link in self._links:
            self._links.discard(link)
            self._program_ended(link)
            self._changed(len(self._links))
            self._resume()
