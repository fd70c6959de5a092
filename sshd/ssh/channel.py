"""One channel: data within the windows of both sides, requests and replies, end of input, close.

A handler receives the data and returns it to the window with :meth:`Channel.consumed` after processing. The
window therefore bounds the memory of a channel.

A connection sends the data of its channels a few packets per turn of the event loop. A peer that requests
tiny packets slows down only its own connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from sshd.ssh import messages as m
from sshd.ssh.messages import ProtocolViolation
from sshd.ssh.replies import Pending, Replies, Reply
from sshd.wire import boolean, string, text, uint32

PACKETS_PER_TURN = 64
"""Data packets that one connection sends per turn.

The largest window holds this many full packets, so only smaller packets are delayed.
"""


class Link(Protocol):
    """The authenticated transport that carries the packets of a connection."""

    def send_packet(self, pkttype: int, *args: bytes) -> None: ...

    def has_room(self) -> bool:
        """Whether bulk data may be written now; if not, ``Mux.writable`` is called later."""

    def lost(self) -> bool: ...


class TurnBudget:
    """Budget of data packets that may be sent before other connections get their turn of the event loop."""

    __slots__ = ("_renewed", "left")

    def __init__(self, renewed: Callable[[], None]) -> None:
        """``renewed`` is called in the turn after the budget was used up."""
        self.left = PACKETS_PER_TURN
        self._renewed = renewed

    def take(self, packets: int) -> None:
        if self.left <= 0:
            return
        self.left -= packets
        if self.left <= 0:
            self.left = 0
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self.left = PACKETS_PER_TURN
        self._renewed()


class ChannelHandler(Protocol):
    """The program's handler of a channel's events."""

    def opened(self, channel: Channel) -> None:
        """The channel exists; called before all other methods."""

    def data_received(self, kind: int, data: bytes) -> None:
        """``kind`` is ``DATA`` or the type of extended data; answer with ``Channel.consumed(len(data))``."""

    def eof_received(self) -> None: ...

    def request_received(self, name: str, payload: bytes, reply: Reply) -> None: ...

    def writable(self) -> None:
        """There is room again after ``Channel.room`` was 0."""

    def closed(self) -> None:
        """The peer closed the channel or the connection ended; nothing more can be sent."""


class Channel:
    """One open channel."""

    __slots__ = (
        "_adjust", "_answers", "_both_closed", "_closed", "_eof_sent", "_handler", "_link", "_max_packet",
        "_peer_closed", "_peer_eof", "_receive_window", "_remote", "_replies", "_send_window", "_turn",
        "extra", "granted", "local",
    )  # fmt: skip

    def __init__(
        self,
        link: Link,
        turn: TurnBudget,
        handler: ChannelHandler,
        local: int,
        granted: int,
        remote: int,
        window: int,
        max_packet: int,
        extra: bytes,
        both_closed: Callable[[Channel], None],
    ) -> None:
        """``granted`` is the window of the data to us, ``window`` that of our data. ``turn`` and ``link`` are
        those of the connection. ``both_closed`` is called once both sides have closed the channel.
        """
        self.local = local
        self.granted = granted
        self.extra = extra
        self._link = link
        self._turn = turn
        self._both_closed = both_closed
        self._handler = handler
        self._remote = uint32(remote)
        self._send_window = window
        self._max_packet = min(max_packet, m.MAX_PACKET)
        self._receive_window = granted
        self._adjust = 0
        self._eof_sent = self._closed = self._peer_eof = self._peer_closed = False
        self._replies = Replies(self._reply)
        self._answers: deque[Callable[[bool], None]] = deque()

    # -- sending ------------------------------------------------------------------------------------

    def room(self) -> int:
        """Bytes that may be sent now; after 0, the handler's ``writable`` is called."""
        if self._closed or self._eof_sent or not self._link.has_room():
            return 0
        return min(self._send_window, self._turn.left * self._max_packet)

    def send(self, data: bytes | memoryview, kind: int = m.DATA) -> None:
        """Send data, no more than :meth:`room` allows. Data for a closed channel is dropped."""
        if self._closed or self._eof_sent:
            return
        if len(data) > self._send_window:
            raise ValueError(f"{len(data)} bytes for a window of {self._send_window}")
        self._send_window -= len(data)
        self._turn.take(-(-len(data) // self._max_packet))
        for start in range(0, len(data), self._max_packet):
            piece = bytes(data[start : start + self._max_packet])
            if kind == m.DATA:
                self._link.send_packet(m.CHANNEL_DATA, self._remote, len(piece).to_bytes(4, "big"), piece)
            else:
                self._link.send_packet(m.CHANNEL_EXTENDED_DATA, self._remote, uint32(kind), string(piece))

    def send_eof(self) -> None:
        if not self._closed and not self._eof_sent:
            self._eof_sent = True
            self._link.send_packet(m.CHANNEL_EOF, self._remote)

    def request(self, name: str, payload: bytes, want_reply: bool = False) -> asyncio.Future[bool] | None:
        """Send a request; if a reply is wanted, the future resolves to its success."""
        if not want_reply:
            self.ask(name, payload, None)
            return None
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ask(name, payload, lambda success: None if answer.done() else answer.set_result(success))
        return answer

    def ask(self, name: str, payload: bytes, answered: Callable[[bool], None] | None) -> None:
        """Send a request. ``answered``, if a reply is wanted, is called before anything that follows the
        reply.
        """
        if self._closed:
            if answered is not None:
                answered(False)
            return
        self._link.send_packet(
            m.CHANNEL_REQUEST,
            self._remote,
            text(name),
            boolean(answered is not None),
            payload,
        )
        if answered is not None:
            self._answers.append(answered)

    def close(self) -> None:
        """Close our side; data from the peer is dropped until the peer closes its side."""
        if self._closed:
            return
        self._closed = True
        self._link.send_packet(m.CHANNEL_CLOSE, self._remote)
        self._settle()
        if self._peer_closed:
            self._both_closed(self)

    def consumed(self, size: int) -> None:
        """Report that ``size`` received bytes are processed."""
        self._adjust += size
        if self._adjust >= self.granted // 4 and not (self._peer_eof or self._closed):
            self._receive_window += self._adjust
            self._link.send_packet(m.CHANNEL_WINDOW_ADJUST, self._remote, uint32(self._adjust))
            self._adjust = 0

    def _reply(self, pending: Pending) -> None:
        if not self._closed:
            self._link.send_packet(m.CHANNEL_SUCCESS if pending.success else m.CHANNEL_FAILURE, self._remote)

    def _settle(self) -> None:
        while self._answers:
            self._answers.popleft()(False)

    # -- called by the mux ---------------------------------------------------------------------------

    def wake(self) -> None:
        if self.room():
            self._handler.writable()

    def window_grown(self, size: int) -> None:
        self._send_window += size
        if self._send_window > 0xFFFFFFFF:
            raise ProtocolViolation("a window grew beyond 32 bits")
        self.wake()

    def take_data(self, kind: int, data: bytes) -> None:
        self._receive_window -= len(data)
        if self._receive_window < 0:
            raise ProtocolViolation("more data than the window allows")
        if self._closed or self._peer_eof:
            self.consumed(len(data))
        elif data:
            self._handler.data_received(kind, data)

    def take_eof(self) -> None:
        if not self._peer_eof:
            self._peer_eof = True
            if not self._closed:
                self._handler.eof_received()

    def take_close(self) -> None:
        self._peer_closed = True
        ours_was_open = not self._closed
        self.close()
        self._both_closed(self)
        if ours_was_open:
            self._handler.closed()

    def take_request(self, name: str, want_reply: bool, payload: bytes) -> None:
        reply = Reply(self._replies, want_reply)
        if self._closed:
            reply(False)
        else:
            self._handler.request_received(name, payload, reply)

    def take_answer(self, success: bool) -> None:
        if self._answers:
            self._answers.popleft()(success)

    def connection_lost(self) -> None:
        was_open = not self._closed
        self._closed = self._peer_closed = True
        self._settle()
        if was_open:
            self._handler.closed()
