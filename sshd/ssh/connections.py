"""All connections of one server: accepted while there is room.

A stranger is a connection that is not authenticated yet. Their number is bounded, so that they take neither
the memory nor the descriptors of authenticated connections. When there are too many, one of them is
dropped at random for the next one, if possible one that has not exchanged keys yet: a client whose password
is being checked stays. A flood of newcomers then cannot drop a certain stranger on purpose, as it could if
the oldest were dropped; idle strangers cannot lock others out, as they could if newcomers were refused. When
there are too many authenticated connections, arriving ones wait in the listener's queue.
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

MAX_STRANGERS = 1000
"""Strangers a server may have, unless it says otherwise; each may cost 250 KB."""

RETRY_SECONDS = 0.5
"""How long to leave arriving connections alone when there is no descriptor for them."""


def affordable(descriptors_each: int) -> int:
    """How many connections this process has descriptors for; a quarter is left for whatever else it does."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_STRANGERS * 1000
    return max(1, soft * 3 // 4 // descriptors_each)


class Connections:
    """Accepts and counts. ``changed`` is called with their number each time it changes."""

    def __init__(
        self,
        policy: ServerPolicy,
        changed: Callable[[int], None],
        most: int,
        most_strangers: int = MAX_STRANGERS,
    ) -> None:
        self._policy = replace(policy, ready=self._ready, ended=self._ended)
        self._program_ready = policy.ready
        self._program_ended = policy.ended
        self._options = server_options(self._policy)
        self._changed = changed
        self._most = most
        self._most_strangers = min(most, most_strangers)
        self._links: set[ServerLink] = set()
        self._strangers: set[ServerLink] = set()
        self._resume: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._links)

    @asynccontextmanager
    async def accepting(self, listening: socket.socket) -> AsyncIterator[None]:
        """Accept while inside; then all connections are closed. A connection not yet accepted stays queued.

        Not asyncio's server, which may drop one that comes while it is closed.
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
            except OSError:  # no descriptor left
                if not self._drop_a_stranger():
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
        with contextlib.suppress(OSError):  # the client is gone already
            await asyncio.get_running_loop().connect_accepted_socket(lambda: link, end)
            if link in self._links:
                self._strangers.add(link)

    def _attached(self, link: ServerLink, end: socket.socket, _: asyncio.Task[None]) -> None:
        """The attempt is over; cancelled or failed, its socket is closed."""
        if link.lost():
            end.close()
            self._ended(link)

    def _make_room(self) -> bool:
        """Whether one more can be taken."""
        if len(self._strangers) >= self._most_strangers:
            return self._drop_a_stranger()
        return len(self._links) < self._most or self._drop_a_stranger()

    def _drop_a_stranger(self) -> bool:
        """Whether there was one; it does not count any more, although it ends a little later."""
        if not self._strangers:
            return False
        idle = [stranger for stranger in self._strangers if not stranger.is_encrypted]
        dropped = random.choice(idle or list(self._strangers))
        self._strangers.discard(dropped)
        dropped.abort()
        return True

    def _ready(self, link: ServerLink) -> None:
        self._strangers.discard(link)
        self._program_ready(link)

    def _ended(self, link: ServerLink) -> None:
        self._strangers.discard(link)
        if link in self._links:
            self._links.discard(link)
            self._program_ended(link)
            self._changed(len(self._links))
            self._resume()
