"""A splice of two connections: everything received on one is sent on the other, with flow control of both."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from sshd.ssh.channel import Channel
from sshd.ssh.link import MuxLink
from sshd.ssh.messages import MAX_CHANNELS, OPEN_CONNECT_FAILED, OPEN_RESOURCE_SHORTAGE, OpenRefused
from sshd.ssh.mux import Mux, OpenRequest
from sshd.ssh.replies import Reply

MAX_EARLY = 64
"""Limit of requests that wait for the connection to the instance; beyond it, the client is not read."""

_EARLY = "no instance yet"


class SplicedConnection:
    """One connection of a splice: passes its requests on to the other."""

    def __init__(self, ended: Callable[[], None], link: MuxLink | None = None) -> None:
        """``ended`` is called when the connection ends. ``link`` is the connection, if it exists already."""
        self._ended = ended
        self._link = link
        self._other: SplicedConnection | None = None
        self._early: list[Callable[[], None]] = []

    def join(self, link: MuxLink, other: SplicedConnection) -> None:
        """Pass requests on from now on, beginning with those that wait."""
        self._link = link
        self._other = other
        early, self._early = self._early, []
        for action in early:
            action()
        link.release(_EARLY)

    def _when_joined(self, action: Callable[[], None]) -> None:
        if self._other is not None:
            action()
            return
        self._early.append(action)
        if self._link is not None and len(self._early) >= MAX_EARLY:
            self._link.hold(_EARLY)

    @property
    def mux(self) -> Mux | None:
        return None if self._link is None else self._link.mux

    def open_requested(self, request: OpenRequest) -> None:
        self._when_joined(lambda: self._run(self._open(request)))

    def global_requested(self, name: str, payload: bytes, reply: Reply) -> None:
        self._when_joined(lambda: self._pass_request(name, payload, reply))

    def connection_ended(self, error: Exception | None) -> None:
        self._ended()

    def _run(self, work: Awaitable[None]) -> None:
        assert self._link is not None
        self._link.create_task(work)

    def _pass_request(self, name: str, payload: bytes, reply: Reply) -> None:
        far = self._other.mux if self._other is not None else None
        if far is None:
            reply(False)
            return
        far.ask(name, payload, reply if reply.want_reply else None)

    async def _open(self, request: OpenRequest) -> None:
        far = self._other.mux if self._other is not None else None
        incoming, outgoing = SplicedChannel(), SplicedChannel()
        incoming.peer, outgoing.peer = outgoing, incoming
        try:
            if far is None:
                raise ConnectionResetError("the other connection has ended")
            # the far side also counts channels that its peer has not closed yet
            if far.channels >= MAX_CHANNELS:
                raise OpenRefused(OPEN_RESOURCE_SHORTAGE, "too many channels")
            channel = await far.open(request.kind, outgoing, request.extra)
        except OpenRefused as refusal:
            request.refuse(refusal.reason, refusal.text, refusal.language)
            return
        except ConnectionResetError as error:
            request.refuse(OPEN_CONNECT_FAILED, str(error))
            return
        try:
            request.accept(incoming, channel.extra)
        except ConnectionResetError:
            channel.close()
            return
        incoming.flow()
        outgoing.flow()


class SplicedChannel:
    """The handler of one channel; passes everything on to the channel of its peer.

    Requests are sent at once: a signal must overtake input that a command does not read. Data is sent as fast
    as the peer takes it. End of input, exit status and close are sent after the data.
    """

    LAST_WORDS = frozenset({"exit-status", "exit-signal"})

    def __init__(self) -> None:
        self.peer: SplicedChannel
        self.channel: Channel | None = None
        self._queue: deque[tuple[int, bytes] | Callable[[], None]] = deque()
        self._requests: deque[tuple[str, bytes, Reply]] = deque()
        self._status = self._eof = self._closed = False

    def opened(self, channel: Channel) -> None:
        self.channel = channel

    def data_received(self, kind: int, data: bytes) -> None:
        self._queue.append((kind, data))
        self.flow()

    def eof_received(self) -> None:
        self._eof = True
        self._queue.append(self._pass_eof)
        self.flow()

    def request_received(self, name: str, payload: bytes, reply: Reply) -> None:
        if self._closed or self._status:  # the status was the last request in this direction
            reply(False)
        elif name in self.LAST_WORDS:
            self._status = name == "exit-status"
            self._queue.append(partial(self._pass, name, payload, reply))
        else:
            self._requests.append((name, payload, reply))
        self.flow()

    def writable(self) -> None:
        self.peer.flow()

    def closed(self) -> None:
        self._closed = True
        self.flow()
        self.peer.flow()

    def flow(self) -> None:
        """Pass on as much as possible."""
        near, far = self.channel, self.peer.channel
        if near is None or far is None:
            return
        while self._requests:
            self._pass(*self._requests.popleft())
        while self._queue:
            item = self._queue[0]
            if callable(item):
                self._queue.popleft()
                item()
                continue
            kind, data = item
            room = len(data) if self.peer._closed else far.room()  # the peer has closed: the data is dropped
            if not room:
                return
            piece, rest = data[:room], data[room:]
            far.send(piece, kind)
            near.consumed(len(piece))
            if rest:
                self._queue[0] = (kind, rest)
            else:
                self._queue.popleft()
        if self._status and self._eof:
            near.close()
            far.close()
        elif self._closed:
            far.close()

    def _pass_eof(self) -> None:
        assert self.peer.channel is not None
        self.peer.channel.send_eof()

    def _pass(self, name: str, payload: bytes, reply: Reply) -> None:
        assert self.peer.channel is not None
        self.peer.channel.ask(name, payload, reply if reply.want_reply else None)
