"""Two connections as one: all that arrives on one goes out on the other, with the flow control of both."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from sshd.ssh.channel import Channel
from sshd.ssh.errors import OpenRefused
from sshd.ssh.link import MuxLink
from sshd.ssh.messages import OPEN_CONNECT_FAILED
from sshd.ssh.mux import Mux, OpenRequest
from sshd.ssh.replies import Reply


class Side:
    """What one connection asks for, passed on to the other."""

    def __init__(self, ended: Callable[[], None]) -> None:
        """``ended`` is called when the connection has."""
        self._ended = ended
        self._link: MuxLink | None = None
        self._other: Side | None = None
        self._early: list[Callable[[], None]] = []

    def join(self, link: MuxLink, other: Side) -> None:
        """From now on pass on; what came before comes now."""
        self._link = link
        self._other = other
        early, self._early = self._early, []
        for action in early:
            action()

    def _when_joined(self, action: Callable[[], None]) -> None:
        if self._other is None:
            self._early.append(action)
        else:
            action()

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
        answer = far.global_request(name, payload, reply.wanted)
        if answer is not None:
            answer.add_done_callback(lambda done: None if done.cancelled() else reply(*done.result()))

    async def _open(self, request: OpenRequest) -> None:
        far = self._other.mux if self._other is not None else None
        here, there = Half(), Half()
        here.peer, there.peer = there, here
        try:
            if far is None:
                raise ConnectionResetError("the other connection has ended")
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

    Requests go at once, data and end of input as fast as the peer takes them; the end of the command and the
    close wait until all data before them has gone.
    """

    LAST_WORDS = frozenset({"exit-status", "exit-signal"})

    def __init__(self) -> None:
        self.peer: Half
        self.channel: Channel | None = None
        self._data: deque[tuple[int, bytes]] = deque()
        self._requests: deque[tuple[str, bytes, Reply]] = deque()
        self._last: tuple[str, bytes, Reply] | None = None
        self._eof = self._closed = False

    def opened(self, channel: Channel) -> None:
        self.channel = channel

    def data_received(self, kind: int, data: bytes) -> None:
        self._data.append((kind, data))
        self.flow()

    def eof_received(self) -> None:
        self._eof = True
        self.flow()

    def request_received(self, name: str, payload: bytes, reply: Reply) -> None:
        if self._closed or (self._last is not None and self._last[0] == "exit-status"):
            return  # that was the last request of its direction
        if name in self.LAST_WORDS:
            self._last = (name, payload, reply)
        else:
            self._requests.append((name, payload, reply))
        self.flow()

    def writable(self) -> None:
        self.peer.flow()

    def closed(self) -> None:
        self._closed = True
        self.flow()

    def flow(self) -> None:
        """Pass on what can go."""
        near, far = self.channel, self.peer.channel
        if near is None or far is None:
            return
        while self._requests:
            _pass(far, *self._requests.popleft())
        while self._data and (room := far.room()):
            kind, data = self._data.popleft()
            if len(data) > room:
                self._data.appendleft((kind, data[room:]))
                data = data[:room]
            far.send(data, kind)
            near.consumed(len(data))
        if self._data and not self.peer._closed:
            return
        if self._eof:
            far.send_eof()
        if self._last is not None:
            last, self._last = self._last, None
            _pass(far, *last)
            if last[0] == "exit-status":
                self._closed = True
                near.close()
        if self._closed:
            far.close()


def _pass(far: Channel, name: str, payload: bytes, reply: Reply) -> None:
    answer = far.request(name, payload, reply.wanted)
    if answer is not None:
        answer.add_done_callback(lambda done: None if done.cancelled() else reply(done.result()))
