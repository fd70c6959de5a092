"""The requests of one authenticated client.

Sessions, connections into the container, listeners inside it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from common.goerrors import join_host_port
from sshd.daemon.children import Children
from sshd.daemon.dialing import DialFailed, Names, dial, listen
from sshd.daemon.environment import VARIABLE_BYTES, Allowance
from sshd.daemon.relay import ChannelSide, SocketSide
from sshd.daemon.session import Session
from sshd.daemon.settings import Settings
from sshd.ssh import messages as m
from sshd.ssh.messages import OpenRefused
from sshd.ssh.mux import OpenRequest
from sshd.ssh.server import ServerLink
from sshd.wire import Malformed, Reader, text, uint32

MAX_FORWARDS = 100
"""Limit of listeners per connection."""


class Connection:
    """The policy of one connection; tasks it starts end with it."""

    def __init__(self, link: ServerLink, settings: Settings, children: Children) -> None:
        self._link = link
        self._settings = settings
        self._children = children
        self._mux = link.start_mux(self)
        self._forwards: dict[str, _Forward] = {}
        self._names = Names()
        self._variables = Allowance(VARIABLE_BYTES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived_sides: set[SocketSide] = set()

    def _run(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Run a coroutine until the connection ends; its failure ends the connection."""
        task = self._link.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- channels -----------------------------------------------------------------------------------

    def open_requested(self, request: OpenRequest) -> None:
        if request.kind == "session":
            request.accept(Session(self._settings, self._children, self._variables))
        elif request.kind == "direct-tcpip":
            try:
                reader = Reader(request.extra)
                host, port = reader.text(), reader.uint32()
                reader.text(), reader.uint32()  # originator address and port
                reader.end()
            except Malformed:
                request.refuse(m.OPEN_CONNECT_FAILED, "Failed to parse open channel message")
                return
            self._run(self._dial(request, host, port))
        else:
            request.refuse(m.OPEN_UNKNOWN_CHANNEL_TYPE, request.kind)

    async def _dial(self, request: OpenRequest, host: str, port: int) -> None:
        try:
            side = await dial(host, port, self._names)
        except DialFailed as failure:
            request.refuse(m.OPEN_CONNECT_FAILED, str(failure))
            return
        try:
            request.accept(ChannelSide(side))
        except ConnectionResetError:
            side.close()

    # -- listeners ----------------------------------------------------------------------------------

    def global_requested(self, name: str, payload: bytes, reply: Callable[[bool, bytes], None]) -> None:
        if name not in ("tcpip-forward", "cancel-tcpip-forward"):
            reply(False, b"")
            return
        try:
            reader = Reader(payload)
            host, port = reader.text(), reader.uint32()
            reader.end()
        except Malformed:
            reply(False, b"")
            return
        if name == "tcpip-forward":
            self._run(self._listen(host, port, reply))
        else:
            reply(self._cancel(join_host_port(host, port)), b"")

    async def _listen(self, host: str, port: int, reply: Callable[[bool, bytes], None]) -> None:
        if len(self._forwards) >= MAX_FORWARDS:
            reply(False, b"")
            return
        forward = _Forward(host)
        try:
            server, actual = await listen(host, port, partial(self._arrived, forward), self._names)
        except (OSError, UnicodeError):
            reply(False, b"")
            return
        forward.server = server
        forward.port = actual[1]
        forward.names = {join_host_port(host, actual[1]), join_host_port(*actual)}
        for name in forward.names:
            self._forwards[name] = forward
        reply(True, uint32(actual[1]) if port == 0 else b"")

    def _cancel(self, name: str) -> bool:
        forward = self._forwards.get(name)
        if forward is None:
            return False
        for known in forward.names:
            self._forwards.pop(known, None)
        forward.close()
        return True

    def _arrived(self, forward: _Forward, side: SocketSide) -> None:
        """Offer an accepted socket to the client; close it unless the client opens a channel for it."""
        if self._link.lost() or self._mux.channels + len(self._arrived_sides) >= m.MAX_CHANNELS:
            side.close()
            return
        self._arrived_sides.add(side)
        opening = self._run(self._open_forwarded(forward, side))
        opening.add_done_callback(lambda _: self._settle(side))

    def _settle(self, side: SocketSide) -> None:
        """Clean up after an attempt to open a channel, also if its task was cancelled before it started."""
        self._arrived_sides.discard(side)
        if not side.joined:
            side.close()

    async def _open_forwarded(self, forward: _Forward, side: SocketSide) -> None:
        host, port = side.peer
        extra = text(forward.host) + uint32(forward.port) + text(host) + uint32(port)
        with contextlib.suppress(OpenRefused, ConnectionResetError):
            await self._mux.open("forwarded-tcpip", ChannelSide(side), extra)

    def connection_ended(self, error: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()
        for forward in list(self._forwards.values()):
            forward.close()
        self._forwards.clear()


class _Forward:
    """One listener for the client: the requested address and the bound port."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.port = 0
        self.names: set[str] = set()
        self.server: asyncio.Server | None = None

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
