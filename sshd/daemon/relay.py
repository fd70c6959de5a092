"""A relay between a TCP connection and a channel, with half-close.

Both kinds of port forwarding use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from sshd.ssh import messages as m
from sshd.ssh.channel import Channel

_BUFFER = memoryview(bytearray(256 * 1024))
"""Shared read buffer of all sockets: its content is copied or sent before the next read."""


class SocketSide(asyncio.BufferedProtocol):
    """The TCP side. It reads only after :meth:`join`, so no data arrives before the channel exists.

    It reads only what the channel has room for, so a client that does not read costs almost no memory.
    """

    def __init__(self, connected: Callable[[SocketSide], None] | None = None) -> None:
        self._connected = connected
        self._transport: asyncio.Transport | None = None
        self._channel: Channel | None = None
        self._waiting: list[bytes] = []
        self._unwritten = 0
        self._write_paused = self._gone = False
        self._ended = self._finished = False

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port of the other end."""
        assert self._transport is not None
        name = self._transport.get_extra_info("peername") or ("", 0)
        return str(name[0]), int(name[1])

    @property
    def joined(self) -> bool:
        """Whether a channel is attached."""
        return self._channel is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        if self._connected is not None:
            self._connected(self)

    def join(self, channel: Channel) -> None:
        self._channel = channel
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        if self._ended:
            channel.close()

    # -- from the socket to the channel -------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        room = self._channel.room() if self._channel is not None else 0
        return _BUFFER[: room or 1]  # asyncio does not accept an empty buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._waiting.append(bytes(_BUFFER[:nbytes]))
        self.transfer()

    def transfer(self) -> None:
        """Send the waiting data as far as the channel has room; resume reading once nothing waits."""
        channel = self._channel
        if channel is None:
            return
        while self._waiting and (room := channel.room()):
            data = self._waiting[0]
            if len(data) > room:
                channel.send(memoryview(data)[:room])
                self._waiting[0] = data[room:]
            else:
                channel.send(data)
                self._waiting.pop(0)
        if self._waiting:
            self._pause_reading()
            return
        if self._gone:
            channel.close()
            return
        if self._ended:
            channel.send_eof()
            self._close_if_over()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        self.transfer()
        return True  # half-closed: the other direction may continue

    # -- from the channel to the socket -------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            self._give_back(len(data))
            return
        self._transport.write(data)
        if self._write_paused:
            self._unwritten += len(data)
        else:
            self._give_back(len(data))

    def drop(self, data: bytes) -> None:
        """Discard data of a kind that TCP cannot carry."""
        self._give_back(len(data))

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        unwritten, self._unwritten = self._unwritten, 0
        self._give_back(unwritten)

    def _give_back(self, size: int) -> None:
        if self._channel is not None and size:
            self._channel.consumed(size)

    def write_eof(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            self._finished = True
            self._close_if_over()

    def _close_if_over(self) -> None:
        """Close the connection if both directions have ended."""
        if self._ended and self._finished and not self._waiting and self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._finished = True
        self._gone = True
        if self._channel is not None and not self._waiting:
            self._channel.close()


class ChannelSide:
    """The channel side: the handler of the channel."""

    def __init__(self, socket: SocketSide) -> None:
        self._socket = socket

    def opened(self, channel: Channel) -> None:
        self._socket.join(channel)

    def data_received(self, kind: int, data: bytes) -> None:
        if kind == m.DATA:
            self._socket.write(data)
        else:
            self._socket.drop(data)

    def eof_received(self) -> None:
        self._socket.write_eof()

    def request_received(self, name: str, payload: bytes, reply: Callable[[bool], None]) -> None:
        reply(False)

    def writable(self) -> None:
        self._socket.transfer()

    def closed(self) -> None:
        self._socket.close()
