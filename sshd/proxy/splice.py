"""Two connections as one: all that arrives on one goes out on the other, with the flow control of both."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from sshd.ssh.channel import Channel
from sshd.ssh.errors import OpenRefused
from sshd.ssh.link import MuxLink
from sshd.ssh.messages import MAX_CHANNELS, OPEN_CONNECT_FAILED, OPEN_RESOURCE_SHORTAGE
from sshd.ssh.mux import Mux, OpenRequest
from sshd.ssh.replies import Reply

MAX_EARLY = 64
"""What a client may ask for before there is an instance to pass it on to; then nothing more of it is read."""

_EARLY = "no instance yet"


class Side:
    """What one connection asks for, passed on to the other."""

    def __init__(self, ended: Callable[[], None], link: MuxLink | None = None) -> None:
        """``ended`` is called when the connection has; ``link`` is the connection if it is there already."""
        self._ended = ended
        self._link = link
        self._other: Side | None = None
        self._early: list[Callable[[], None]] = []

    def join(self, link: MuxLink, other: Side) -> None:
        """From now on pass on; what came before comes now."""
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
        far.ask(name, payload, reply if reply.wanted else None)

    async def _open(self, request: OpenRequest) -> None:
        far = self._other.mux if self._other is not None else None
        here, there = Half(), Half()
        here.peer, there.peer = there, here
        try:
            if far is None:
                raise ConnectionResetError("the other connection has ended")
            if far.channels >= MAX_CHANNELS:  # ours may be fewer: those it has not closed yet count there
                raise OpenRefused(OPEN_RESOURCE_SHORTAGE, "too many channels")
            channel = await far.open(request.kind, there, request.extra)
        except OpenRefused as refusal:
            request.refuse(refusal.reason, refusal.text, refusal.language)
            return
        except ConnectionResetError as error:
            request.refuse(OPEN_CONNECT_FAILED, str(error))
            return
        try:
            request.accept(here, channel.extra)
        except ConnectionResetError:
            channel.close()
            return
        here.flow()
        there.flow()


class Half:
    """One channel's handler; what it gets goes to the channel of its peer.

    Requests go at once: a signal must overtake the input that a command does not read. Data goes as fast as
    the peer takes it; the end of input, the end of the command and the close wait for their turn behind it.
    """

    LAST_WORDS = frozenset({"exit-status", "exit-signal"})

    def __init__(self) -> None:
        self.peer: Half
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
        if self._closed or self._status:  # the status was the last request of its direction
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
        """Pass on what can go."""
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
            room = len(data) if self.peer._closed else far.room()  # nobody takes it: it is dropped
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
        self.peer.channel.ask(name, payload, reply if reply.wanted else None)
