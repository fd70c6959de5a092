"""Flow-controlled data between a child's descriptors and a channel."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from sshd.ssh.channel import Channel

CHUNK = 256 * 1024
"""Bytes per read, and size of a transfer's pipe."""


class Transferred(Enum):
    """Result of a pass: some data passed, no data available, or no room in the channel."""

    SOME = auto()
    NOTHING = auto()
    BLOCKED = auto()


class Output:
    """From a descriptor to the channel.

    ``done`` is called once: at the end of the data, or after :meth:`stop`.
    """

    def __init__(self, descriptor: int, channel: Channel, kind: int, done: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._channel = channel
        self._kind = kind
        self._done = done
        self._reading = False
        self._open = True
        os.set_blocking(descriptor, False)
        self.resume()

    @property
    def open(self) -> bool:
        return self._open

    def resume(self) -> None:
        """The channel has room again."""
        if self._open and not self._reading:
            self._reading = True
            self._loop.add_reader(self._descriptor, self.transfer)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)

    def transfer(self) -> Transferred:
        """Pass on the data available now."""
        room = self._channel.room()
        if not room:
            self._pause()
            return Transferred.BLOCKED
        try:
            data = os.read(self._descriptor, min(room, CHUNK))
        except BlockingIOError:
            return Transferred.NOTHING
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        if not data:
            self.stop()
            return Transferred.NOTHING
        self._channel.send(data, self._kind)
        return Transferred.SOME

    def stop(self) -> None:
        if self._open:
            self._pause()
            self._open = False
            os.close(self._descriptor)
            self._done()


class Input:
    """From the channel to a descriptor. Written bytes are returned to the channel's window."""

    def __init__(self, descriptor: int, channel: Channel) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._channel = channel
        self._waiting: deque[bytes] = deque()
        self._writing = False
        self._exit_state = False
        self._open = True
        os.set_blocking(descriptor, False)

    def feed(self, data: bytes) -> None:
        if not self._open:
            self._channel.consumed(len(data))
            return
        self._waiting.append(data)
        if not self._writing:
            self._write()

    def end(self) -> None:
        """Close the descriptor after everything has been written."""
        self._exit_state = True
        if not self._waiting:
            self.stop()

    def _write(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:
                written = 0
            except OSError:  # the reader is gone
                self.stop()
                return
            if written < len(data):
                self._waiting[0] = data[written:]
                self._channel.consumed(written)
                if not self._writing:
                    self._writing = True
                    self._loop.add_writer(self._descriptor, self._write)
                return
            self._waiting.popleft()
            self._channel.consumed(written)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._descriptor)
        if self._exit_state:
            self.stop()

    def stop(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._writing:
            self._loop.remove_writer(self._descriptor)
        os.close(self._descriptor)
        self._channel.consumed(sum(map(len, self._waiting)))
        self._waiting.clear()
