"""The connection protocol (RFC 4254) of one connection: channels and global requests.

It is a state machine between a *link* (outgoing packets) and handlers (incoming events). It never waits: a
packet goes in, callbacks and packets come out. Replies keep the order of the requests, whatever the order of
their answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from sshd.ssh import messages as m
from sshd.ssh.channel import Channel, ChannelHandler, Link, TurnBudget
from sshd.ssh.messages import OpenRefused, ProtocolViolation
from sshd.ssh.replies import Pending, Replies, Reply
from sshd.wire import Malformed, Reader, boolean, text, uint32

MAX_PENDING_OPENS = 256
"""Limit of a peer's opens that wait for our answer (a dial, the other side of a splice)."""


REFUSED_SIZE = (m.OPEN_CONNECT_FAILED, "invalid request", "en_US.UTF-8")
"""Answer of Go's library to an open with a maximum packet size that is too small."""


class OpenRequest:
    """A peer's request to open a channel; answer it with exactly one of :meth:`accept` and :meth:`refuse`."""

    __slots__ = ("_max_packet", "_mux", "_remote", "_window", "extra", "kind")

    def __init__(self, mux: Mux, kind: str, remote: int, window: int, max_packet: int, extra: bytes) -> None:
        self.kind = kind
        self.extra = extra
        self._mux = mux
        self._remote = remote
        self._window = window
        self._max_packet = max_packet

    def accept(self, handler: ChannelHandler, extra: bytes = b"") -> Channel:
        return self._mux.accepted(handler, self._remote, self._window, self._max_packet, extra)

    def refuse(self, reason: int, message: str, language: str = "") -> None:
        self._mux.refused(self._remote, reason, message, language)


class MuxHandler(Protocol):
    """The program's handler of requests outside channels."""

    def open_requested(self, request: OpenRequest) -> None: ...

    def global_requested(self, name: str, payload: bytes, reply: Reply) -> None: ...

    def connection_ended(self, error: Exception | None) -> None: ...


class Mux:
    """Channels and global requests of one connection."""

    def __init__(self, link: Link, handler: MuxHandler) -> None:
        self.link = link
        self.handler = handler
        self._channels: dict[int, Channel] = {}
        self._opening: dict[int, tuple[ChannelHandler, int, asyncio.Future[Channel]]] = {}
        self._granted = 0
        self._pending_opens = 0
        self._next = 0
        self._replies = Replies(self._reply)
        self._answers: deque[Callable[[bool, bytes], None]] = deque()
        self._ended = False
        self._woken_first = 0
        self.turn = TurnBudget(self.writable)

    @property
    def channels(self) -> int:
        return len(self._channels)

    # -- our requests --------------------------------------------------------------------------------

    async def open(self, kind: str, handler: ChannelHandler, extra: bytes = b"") -> Channel:
        """Open a channel to the peer.

        Raises :class:`OpenRefused`; ``ConnectionError`` if the connection ends before the answer.
        """
        if self._ended:
            raise ConnectionResetError("the SSH connection has ended")
        local, granted = self._free_id(), self._grant()
        answer: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._opening[local] = (handler, granted, answer)
        self.link.send_packet(
            m.CHANNEL_OPEN,
            text(kind),
            uint32(local),
            uint32(granted),
            uint32(m.MAX_PACKET),
            extra,
        )
        return await answer

    def ask(self, name: str, payload: bytes, answered: Callable[[bool, bytes], None] | None) -> None:
        """Send a global request. ``answered``, if a reply is wanted, is called before anything that follows
        it.
        """
        self.link.send_packet(m.GLOBAL_REQUEST, text(name), boolean(answered is not None), payload)
        if answered is None:
            return
        if self._ended:
            answered(False, b"")
        else:
            self._answers.append(answered)

    # -- called by the transport ---------------------------------------------------------------------

    def writable(self) -> None:
        """Wake the channels. Each call begins with another one, because the first may use up the room."""
        channels = list(self._channels.values())
        if channels:
            first = self._woken_first = (self._woken_first + 1) % len(channels)
            for channel in channels[first:] + channels[:first]:
                channel.wake()

    def connection_lost(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        for _, _, answer in self._opening.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the SSH connection has ended"))
        self._opening.clear()
        while self._answers:
            self._answers.popleft()(False, b"")
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.connection_lost()
        self.handler.connection_ended(error)

    def packet_received(self, kind: int, payload: bytes) -> None:
        """Handle one packet of type 80 to 127. Raises :class:`ProtocolViolation`."""
        try:
            if kind == m.CHANNEL_DATA:  # first, because nearly all packets are data
                self._channel(int.from_bytes(payload[1:5], "big")).take_data(
                    m.DATA, Reader(payload, 5).string()
                )
                return
            reader = Reader(payload, 1)
            if kind == m.GLOBAL_REQUEST:
                self._global_request(reader)
            elif kind in (m.REQUEST_SUCCESS, m.REQUEST_FAILURE):
                self._global_answer(kind == m.REQUEST_SUCCESS, reader.rest())
            elif kind == m.CHANNEL_OPEN:
                self._open_request(reader)
            elif kind == m.CHANNEL_OPEN_CONFIRMATION:
                self._open_confirmed(reader)
            elif kind == m.CHANNEL_OPEN_FAILURE:
                self._open_failed(reader)
            else:
                self._channel_packet(kind, reader)
        except Malformed as error:
            raise ProtocolViolation(f"packet {kind}: {error}") from error

    def _channel_packet(self, kind: int, reader: Reader) -> None:
        channel = self._channel(reader.uint32())
        if kind == m.CHANNEL_WINDOW_ADJUST:
            channel.window_grown(reader.uint32())
        elif kind == m.CHANNEL_EXTENDED_DATA:
            channel.take_data(reader.uint32(), reader.string())
        elif kind == m.CHANNEL_EOF:
            channel.take_eof()
        elif kind == m.CHANNEL_CLOSE:
            channel.take_close()
        elif kind == m.CHANNEL_REQUEST:
            name = reader.text()
            want_reply = reader.boolean()
            channel.take_request(name, want_reply, reader.rest())
        elif kind in (m.CHANNEL_SUCCESS, m.CHANNEL_FAILURE):
            channel.take_answer(kind == m.CHANNEL_SUCCESS)
        else:
            raise ProtocolViolation(f"unknown connection packet {kind}")

    def _channel(self, local: int) -> Channel:
        try:
            return self._channels[local]
        except KeyError:
            raise ProtocolViolation(f"packet for channel {local}, which is not open") from None

    # -- global requests ----------------------------------------------------------------------------

    def _global_request(self, reader: Reader) -> None:
        name = reader.text()
        reply = Reply(self._replies, reader.boolean())
        self.handler.global_requested(name, reader.rest(), reply)

    def _reply(self, pending: Pending) -> None:
        if pending.success:
            self.link.send_packet(m.REQUEST_SUCCESS, pending.payload)
        else:
            self.link.send_packet(m.REQUEST_FAILURE)

    def _global_answer(self, success: bool, payload: bytes) -> None:
        if not self._answers:
            raise ProtocolViolation("answer to a global request that was not made")
        self._answers.popleft()(success, payload)

    # -- opening and closing ------------------------------------------------------------------------

    def _free_id(self) -> int:
        while self._next in self._channels or self._next in self._opening:
            self._next = (self._next + 1) & 0xFFFFFFFF
        taken = self._next
        self._next = (self._next + 1) & 0xFFFFFFFF
        return taken

    def _grant(self) -> int:
        """The window of a new channel: the total of a connection is bounded, not the number of channels."""
        granted = min(m.WINDOW, max(m.LEAST_WINDOW, (m.ALL_WINDOWS - self._granted) // 2))
        self._granted += granted
        return granted

    def _open_request(self, reader: Reader) -> None:
        kind = reader.text()
        remote, window, max_packet = reader.uint32(), reader.uint32(), reader.uint32()
        self._pending_opens += 1
        request = OpenRequest(self, kind, remote, window, max_packet, reader.rest())
        if max_packet < m.LEAST_MAX_PACKET:
            request.refuse(*REFUSED_SIZE)
        elif len(self._channels) >= m.MAX_CHANNELS or self._pending_opens > MAX_PENDING_OPENS:
            request.refuse(m.OPEN_RESOURCE_SHORTAGE, "too many channels")
        else:
            self.handler.open_requested(request)

    def accepted(
        self, handler: ChannelHandler, remote: int, window: int, max_packet: int, extra: bytes
    ) -> Channel:
        self._pending_opens -= 1
        if self._ended:
            raise ConnectionResetError("the SSH connection has ended")
        local, granted = self._free_id(), self._grant()
        channel = self._channel_of(handler, local, granted, remote, window, max_packet, b"")
        self.link.send_packet(
            m.CHANNEL_OPEN_CONFIRMATION,
            uint32(remote),
            uint32(local),
            uint32(granted),
            uint32(m.MAX_PACKET),
            extra,
        )
        handler.opened(channel)
        return channel

    def refused(self, remote: int, reason: int, message: str, language: str) -> None:
        self._pending_opens -= 1
        if self._ended:
            return
        self.link.send_packet(
            m.CHANNEL_OPEN_FAILURE,
            uint32(remote),
            uint32(reason),
            text(message),
            text(language),
        )

    def _open_confirmed(self, reader: Reader) -> None:
        local, remote, window, max_packet = (reader.uint32() for _ in range(4))
        if max_packet < m.LEAST_MAX_PACKET:
            raise ProtocolViolation(f"a maximum packet size of {max_packet} bytes")
        handler, granted, answer = self._take_opening(local)
        channel = self._channel_of(handler, local, granted, remote, window, max_packet, reader.rest())
        if answer.done():  # cancelled: the handler no longer needs a channel
            channel.close()
        else:
            handler.opened(channel)
            answer.set_result(channel)

    def _open_failed(self, reader: Reader) -> None:
        local, reason, message = reader.uint32(), reader.uint32(), reader.text()
        language = reader.text()
        _, granted, answer = self._take_opening(local)
        self._granted -= granted
        if not answer.done():
            answer.set_exception(OpenRefused(reason, message, language))

    def _take_opening(self, local: int) -> tuple[ChannelHandler, int, asyncio.Future[Channel]]:
        try:
            return self._opening.pop(local)
        except KeyError:
            raise ProtocolViolation(f"answer for channel {local}, which is not being opened") from None

    def _channel_of(
        self,
        handler: ChannelHandler,
        local: int,
        granted: int,
        remote: int,
        window: int,
        max_packet: int,
        extra: bytes,
    ) -> Channel:
        channel = self._channels[local] = Channel(
            self.link, self.turn, handler, local, granted, remote, window, max_packet, extra, self._forget
        )
        return channel

    def _forget(self, channel: Channel) -> None:
        """Free the number of a channel that both sides have closed."""
        if self._channels.pop(channel.local, None) is not None:
            self._granted -= channel.granted
