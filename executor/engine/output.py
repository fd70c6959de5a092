"""Output of processes: read in the event loop, in fair turns between instances.

What is done per line is done in the loop, about a microsecond for each sink. So output is not read whenever
there is some: instances queue up, and a turn of the queue is over after :data:`TURN_S`. An instance gets one
piece at a time, bounded in bytes and in lines. A process whose output waits is held up by its full FIFO.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import struct
import termios
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from executor.engine.api import OutputHandler

logger = logging.getLogger(__name__)

READ_SIZE = 65536
"""Bytes: the capacity of a FIFO, unless its writer changed it."""

PIECE_LINES = 1024
"""Line ends handled in one go, about a millisecond with one sink. A full FIFO of usual lines has fewer."""

TURN_S = 0.001
"""Time after which a turn is over, at the end of a piece."""

OTHERS_S = 0.0002
"""A pass of the loop that took longer than this did other work than output."""

LONGEST_WAIT_S = 0.01
"""How long other work, while there is some in each pass of the loop, goes before output."""


class OutputTurns:
    """Divides the loop's time between instances that write, and between them and everything else.

    After a turn the loop does other work that is ready. While it has any, output waits, for
    :data:`LONGEST_WAIT_S` at most. So a flood does not slow down each step of a chain of short ones, such as
    the start of a process. now: a clock in seconds; by default the CPU time of the thread, because a loop
    that waits for its processor, or for other threads, does no other work.
    """

    def __init__(self, now: Callable[[], float] = time.thread_time) -> None:
        self._now = now
        self._queues: OrderedDict[str, deque[OutputReader]] = OrderedDict()
        self._scheduled = False
        self._looked_at = self._turn_ended_at = now()

    def add(self, reader: OutputReader) -> None:
        """There may be something to read."""
        self._queues.setdefault(reader.owner, deque()).append(reader)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._look)

    def remove(self, reader: OutputReader) -> None:
        """The reader was closed. One that does not wait for a turn is ignored."""
        queue = self._queues.get(reader.owner)
        if queue is not None and reader in queue:
            queue.remove(reader)
            if not queue:
                del self._queues[reader.owner]

    def _look(self) -> None:
        """Once in each pass of the loop, while somebody waits for a turn."""
        now = self._now()
        others_work = now - self._looked_at > OTHERS_S
        self._looked_at = now
        if not others_work or now - self._turn_ended_at >= LONGEST_WAIT_S:
            self._turn(now + TURN_S)
            self._looked_at = self._turn_ended_at = self._now()
        self._scheduled = bool(self._queues)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._look)

    def _turn(self, until: float) -> None:
        while self._queues:
            owner, queue = next(iter(self._queues.items()))
            reader = queue[0]
            more = reader.turn()
            if queue and queue[0] is reader:  # unless its handler closed it
                queue.popleft()
                if more:
                    queue.append(reader)
            if queue:
                self._queues.move_to_end(owner)
            elif self._queues.get(owner) is queue:  # a reader that closes may bring another one
                del self._queues[owner]
            if self._now() >= until:
                return


class OutputReader:
    """Hands what arrives in one output FIFO to its handler until every writer has closed it.

    owner: guid of the instance. A handler that fails loses what it was given, and the failure is logged once;
    the reading goes on.
    """

    def __init__(self, fd: int, handler: OutputHandler, turns: OutputTurns, owner: str) -> None:
        self._fd = fd
        self._handler = handler
        self._turns = turns
        self.owner = owner
        self._loop = asyncio.get_running_loop()
        self._read = b""
        self._handled = 0
        self._last_words: int | None = None
        self._drained: list[Callable[[], None]] = []
        self._failed = False
        self._queued = False
        self._watch()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def drain(self, then: Callable[[], None]) -> None:
        """Call ``then`` when all that is in the FIFO now was handled; a surviving child may add more.

        It is read in turns, as always: a FIFO can hold a MiB.
        """
        waiting = 0 if self.closed else self._waiting()
        if waiting or self._handled < len(self._read):
            self._last_words = waiting
            self._drained.append(then)
            self._queue()  # not when it is readable: the app may read its own output meanwhile
        else:
            then()

    def close(self) -> None:
        """Stop reading. What was read already is handled."""
        if not self.closed:
            self._turns.remove(self)
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        while self._handled < len(self._read):
            self._handle_piece()
        self._tell_drained()

    def turn(self) -> bool:
        """Handle up to :data:`READ_SIZE` bytes with up to :data:`PIECE_LINES` line ends.

        Answers whether there may be more; if not, the loop watches the FIFO again.
        """
        more = True
        if self._handled == len(self._read):
            more = self._refill()
        self._handle_piece()
        if self._handled < len(self._read):
            return not self.closed
        if self._last_words is not None and (self._last_words <= 0 or not more):
            self._tell_drained()
        if self.closed:
            return False
        if not more:
            self._watch()
        return more

    def handle(self, data: bytes) -> None:
        """Give the handler output that came some other way."""
        try:
            self._handler(data)
        except Exception as error:
            if not self._failed:
                self._failed = True
                logger.error("output-handler-failed", exc_info=error, extra={"data": {"guid": self.owner}})

    def _refill(self) -> bool:
        """Read; whether there may be more. Closes at the end of the output."""
        size = READ_SIZE if self._last_words is None else min(self._last_words, READ_SIZE)
        self._read, self._handled = b"", 0
        try:
            self._read = os.read(self._fd, size)
        except BlockingIOError:  # the app reads its own output
            return False
        except OSError as error:
            logger.error("output-unreadable", exc_info=error, extra={"data": {"guid": self.owner}})
        if not self._read:
            self.close()
        if self._last_words is not None:
            self._last_words -= len(self._read)
        return len(self._read) == size

    def _handle_piece(self) -> None:
        start, end = self._handled, piece_end(self._read, self._handled)
        self._handled = end
        if end > start:
            self.handle(self._read if end - start == len(self._read) else self._read[start:end])

    def _waiting(self) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0\0\0\0"))[0])

    def _tell_drained(self) -> None:
        self._last_words = None
        drained, self._drained = self._drained, []
        for then in drained:
            then()

    def _watch(self) -> None:
        self._queued = False
        self._loop.add_reader(self._fd, self._queue)

    def _queue(self) -> None:
        """Wait for a turn; what waits for one is not watched, or each pass of the loop would report it."""
        if not self._queued:
            self._queued = True
            self._loop.remove_reader(self._fd)
            self._turns.add(self)


def piece_end(data: bytes, start: int) -> int:
    """The end of the piece of ``data`` from ``start`` on that has at most :data:`PIECE_LINES` line ends."""
    end = len(data)
    returns = b"\r" in data  # much faster than to count none
    while data.count(b"\n", start, end) + (data.count(b"\r", start, end) if returns else 0) > PIECE_LINES:
        end = start + (end - start) // 2
    return end
