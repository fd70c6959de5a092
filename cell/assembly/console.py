"""App logs for people: one line each on the terminal, with instance and source as label."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from io import TextIOBase
from itertools import accumulate
from typing import IO

from cell.assembly.terminal import PLAIN, visible
from executor.logs.api import LogLine, Stream
from executor.logs.shipper import CAPACITY_BYTES, LineShipper, Unreachable, each_alone

RED, DIM = "\x1b[31m", "\x1b[2m"

CLOSE_LIMIT_S = 1.0
"""Limit of the wait at exit for a terminal that does not accept output."""

PIECE_BYTES = 1 << 16
"""Bytes per write, the size of a pipe buffer."""

OWN = "cell dev"
"""Label of lines that do not come from an instance."""


def source_label(line: LogLine) -> str:
    """``APP``, for ``cell run``: with one instance the source is enough."""
    return line.source_type


def instance_label(line: LogLine) -> str:
    """``web/0 APP``: instance and source, for many instances in parallel."""
    return f"{line.source_id}/{line.instance_id} {line.source_type}"


def shown(line: LogLine, label: Callable[[LogLine], str], colour: bool = False) -> str:
    """A line in the form for people."""
    text = visible(line.payload.decode(errors="replace"), colours=True)
    head = visible(f"[{label(line)}] {line.stream.value}")
    if colour:
        text = f"{RED}{text}{PLAIN}" if line.stream is Stream.ERR else text
        head = f"{DIM}{head}{PLAIN}"
    return f"{head} {text}"


class ConsoleSink:
    """Prints lines as they come; the writer waits for the reader, so no line is lost."""

    def __init__(self, stream: IO[str] | TextIOBase | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream

    def emit(self, line: LogLine) -> None:
        print(shown(line, source_label), file=self._stream, flush=True)


class Console(LineShipper):
    """Prints lines of many instances through a bounded buffer; writers never wait for the reader.

    If a terminal is stopped or a pipe is not read, lines beyond ``capacity`` bytes are dropped. The
    component's log reports their number by instance.
    """

    def __init__(self, descriptor: int = 1, *, colour: bool = False, capacity: int = CAPACITY_BYTES) -> None:
        super().__init__(
            "console",
            each_alone(lambda line: (shown(line, instance_label, colour) + "\n").encode(errors="replace")),
            Descriptor(descriptor),
            capacity=capacity,
            close_limit_s=CLOSE_LIMIT_S,
        )

    def print(self, text: str) -> None:
        """Print lines that do not come from an instance."""
        data = f"{text}\n".encode(errors="replace")
        self.put(data, OWN, len(data), text.count("\n") + 1)


class Descriptor:
    """Output through a descriptor that another process shares, such as standard output.

    Writes never block in a system call, which could not be cancelled. Non-blocking mode belongs to the open
    file and affects all processes that share it. So this class opens its own descriptor for the same pipe
    or terminal.
    """

    def __init__(self, descriptor: int) -> None:
        self._given = descriptor
        self._write: Callable[[memoryview], int] | None = None
        self._own: int | socket.socket | None = None

    async def send(self, items: Sequence[bytes]) -> Collection[int]:
        ends = list(accumulate(map(len, items)))
        data = memoryview(b"".join(items))
        written = 0
        try:
            if self._write is None:
                self._write = self._opened()
            while written < len(data):
                try:
                    written += self._write(data[written : written + PIECE_BYTES])
                except BlockingIOError:
                    await self._room()
                else:
                    await asyncio.sleep(0)  # let other tasks run, however much there is to write
        except OSError as error:
            raise Unreachable(error, bisect_right(ends, written)) from error
        except asyncio.CancelledError:
            raise Unreachable("it takes too long", bisect_right(ends, written)) from None
        return ()

    async def close(self) -> None:
        own, self._own, self._write = self._own, None, None
        with suppress(OSError):
            if isinstance(own, socket.socket):
                own.close()
            elif own is not None:
                os.close(own)

    def _opened(self) -> Callable[[memoryview], int]:
        mode = os.fstat(self._given).st_mode
        if stat.S_ISSOCK(mode):
            connection = self._own = socket.socket(fileno=os.dup(self._given))
            return lambda data: connection.send(data, socket.MSG_DONTWAIT)
        if stat.S_ISFIFO(mode) or os.isatty(self._given):
            path = f"/proc/self/fd/{self._given}"
            own = self._own = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            return lambda data: os.write(own, data)
        given = self._given  # a file: writes do not wait for a reader
        return lambda data: os.write(given, data)

    async def _room(self) -> None:
        """Wait until the descriptor accepts data."""
        loop = asyncio.get_running_loop()
        descriptor = self._own
        if descriptor is None:
            raise OSError("a file that takes nothing")
        ready = loop.create_future()
        loop.add_writer(descriptor, _set, ready)
        try:
            await ready
        finally:
            loop.remove_writer(descriptor)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
