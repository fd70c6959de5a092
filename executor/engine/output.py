"""Output of processes: read in the event loop, in fair turns between instances.

The work per line runs in the event loop, about a microsecond per sink. So output is not read as soon as it
arrives: instances queue up, and a turn of the queue ends after :data:`TURN_S`. An instance gets one piece
at a time, bounded in bytes and in lines. A full FIFO blocks the writing process.

Output of a durable process goes through its spool (:mod:`executor.engine.spool`), that of probes does not.
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

from executor.engine.api import DurableHandler, OutputHandler
from executor.engine.spool import Spool

logger = logging.getLogger(__name__)

READ_SIZE = 65536
"""Bytes: the default capacity of a FIFO."""

FIFO_BYTES = 1 << 20
"""Capacity of a FIFO with a spool: what a process can write while no agent runs."""

PIECE_LINES = 1024
"""Line ends per piece, about a millisecond with one sink. A full FIFO of usual lines has fewer."""

TURN_S = 0.001
"""Time after which a turn ends, at the end of a piece."""

OTHERS_S = 0.0002
"""A loop iteration longer than this did other work than output."""

LONGEST_WAIT_S = 0.01
"""Longest time that output waits while each loop iteration has other work."""


class OutputTurns:
    """Shares the loop's time between instances that write, and between output and other work.

    After a turn the loop does other work that is ready. While there is any, output waits, for
    :data:`LONGEST_WAIT_S` at most. So a flood does not slow down each step of a chain of short ones, such
    as the start of a process. now: a clock in seconds; by default the thread's CPU time, because a loop
    that waits for the CPU or for other threads does no other work.
    """

    def __init__(self, now: Callable[[], float] = time.thread_time) -> None:
        self._now = now
        self._queues: OrderedDict[str, deque[OutputReader]] = OrderedDict()
        self._scheduled = False
        self._looked_at = self._turn_ended_at = now()

    def add(self, reader: OutputReader) -> None:
        """Queue a reader that may have data."""
        self._queues.setdefault(reader.owner, deque()).append(reader)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._look)

    def remove(self, reader: OutputReader) -> None:
        """Remove a closed reader; one without a place in the queue is ignored."""
        queue = self._queues.get(reader.owner)
        if queue is not None and reader in queue:
            queue.remove(reader)
            if not queue:
                del self._queues[reader.owner]

    def _look(self) -> None:
        """Runs in each loop iteration while readers are queued."""
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
            elif self._queues.get(owner) is queue:  # closing a reader may have queued another one
                del self._queues[owner]
            if self._now() >= until:
                return


class OutputReader:
    """Passes the data of one output FIFO to its handler until all writers have closed it.

    owner: guid of the instance. If the handler fails, its piece is lost, and the failure is logged once;
    reading continues. spool: output goes through it, to a DurableHandler.
    """

    def __init__(
        self,
        fd: int,
        handler: OutputHandler,
        turns: OutputTurns,
        owner: str,
        spool: Spool | None = None,
    ) -> None:
        self._fd = fd
        self._handler = handler
        self._durable = handler if isinstance(handler, DurableHandler) else None
        self._spool = spool
        self._turns = turns
        self.owner = owner
        self._loop = asyncio.get_running_loop()
        self._read = b""
        self._handled = 0
        self._last_words: int | None = None
        self._drained: list[Callable[[], None]] = []
        self._failed = False
        self._queued = False
        if spool is not None:
            enlarge(fd)
        if spool is not None and spool.unread:
            self._queued = True
            turns.add(self)
        else:
            self._watch()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def drain(self, then: Callable[[], None]) -> None:
        """Call ``then`` when all data in the FIFO at this time is handled; a surviving child may add more.

        The data is read in turns as usual: a FIFO can hold a MiB.
        """
        waiting = 0 if self.closed else self._waiting()
        if waiting or self._handled < len(self._read):
            self._last_words = waiting
            self._drained.append(then)
            self._queue()  # queue without waiting for readability: the app may read its own output meanwhile
        else:
            then()

    def close(self) -> None:
        """Stop reading; handle the data already read."""
        if not self.closed:
            self._close_fifo()
            while self._handled < len(self._read):
                self._handle_piece()
            if self._spool is not None:
                self._spool.finish()
        self._notify_drained()

    def detach(self) -> None:
        """Stop reading; the next agent process goes on. Without a spool, handle the data already read."""
        if self._spool is None:
            self.close()
        elif not self.closed:
            self._close_fifo()
            self._spool.detach()
            self._notify_drained()

    def turn(self) -> bool:
        """Handle up to :data:`READ_SIZE` bytes with up to :data:`PIECE_LINES` line ends.

        Returns whether there may be more data; otherwise the loop watches the FIFO again, or the reader waits
        for the sinks.
        """
        more = True
        if self._handled == len(self._read):
            if self._spool is not None and self._spool.lags:
                self._spool.when_taken(self._resume)
                return False
            more = self._refill()
        self._handle_piece()
        if self._handled < len(self._read):
            return not self.closed
        if self._last_words is not None and (self._last_words <= 0 or not more):
            self._notify_drained()
        if self.closed:
            return False
        if not more:
            self._watch()
        return more

    def _resume(self) -> None:
        """Queue again, after a wait for the sinks."""
        if not self.closed:
            self._turns.add(self)

    def discard(self) -> None:
        """Stop reading; nothing is handled."""
        if not self.closed:
            self._close_fifo()
            if self._spool is not None:
                self._spool.discard()

    def peek(self) -> bytes:
        """The output so far, up to :data:`READ_SIZE` bytes; it is still to be handled. For a new reader."""
        try:
            if self._spool is not None:
                data = self._spool.peek(self._fd, READ_SIZE)
            else:
                data = self._read = os.read(self._fd, READ_SIZE)
        except OSError:  # nothing yet, or the next turn reports it
            return b""
        if data:
            self._queue()
        return data

    def _handle(self, data: bytes) -> None:
        try:
            if self._spool is None or self._durable is None:
                self._handler(data)
            else:
                unhandled = len(self._read) - self._handled
                self._durable.take(data, self._spool.read_to - unhandled, self._spool)
        except Exception as error:  # one instance must not end the reading for all
            if not self._failed:
                self._failed = True
                logger.error("output-handler-failed", exc_info=error, extra={"data": {"guid": self.owner}})

    def _refill(self) -> bool:
        """Read, and return whether there may be more data. Closes at the end of the output."""
        size = READ_SIZE if self._last_words is None else min(self._last_words, READ_SIZE)
        self._read, self._handled = b"", 0
        left = self._spool is not None and self._spool.unread > 0
        try:
            self._read = os.read(self._fd, size) if self._spool is None else self._spool.read(self._fd, size)
        except BlockingIOError:  # the app reads its own output
            return False
        except OSError as error:
            logger.error("output-unreadable", exc_info=error, extra={"data": {"guid": self.owner}})
        if not self._read:
            self.close()
        if self._last_words is not None:
            self._last_words -= len(self._read)
        return left or len(self._read) == size

    def _handle_piece(self) -> None:
        start, end = self._handled, piece_end(self._read, self._handled)
        self._handled = end
        if end > start:
            self._handle(self._read if end - start == len(self._read) else self._read[start:end])

    def _waiting(self) -> int:
        unread = 0 if self._spool is None else self._spool.unread
        return unread + int(struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0\0\0\0"))[0])

    def _close_fifo(self) -> None:
        self._turns.remove(self)
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1

    def _notify_drained(self) -> None:
        self._last_words = None
        drained, self._drained = self._drained, []
        for then in drained:
            then()

    def _watch(self) -> None:
        self._queued = False
        self._loop.add_reader(self._fd, self._queue)

    def _queue(self) -> None:
        """Queue for a turn; a queued FIFO is not watched, else each loop iteration would report it."""
        if not self._queued:
            self._queued = True
            self._loop.remove_reader(self._fd)
            self._turns.add(self)


def enlarge(fifo: int) -> None:
    """Give a FIFO the capacity :data:`FIFO_BYTES`, or as much as the limits of the host allow."""
    size = FIFO_BYTES
    while size > READ_SIZE:
        try:
            fcntl.fcntl(fifo, fcntl.F_SETPIPE_SZ, size)
        except OSError:  # EPERM beyond the limit of a user, EBUSY below what it holds
            size //= 2
        else:
            return


def piece_end(data: bytes, start: int) -> int:
    """End of the piece of ``data`` from ``start`` that has at most :data:`PIECE_LINES` line ends."""
    end = len(data)
    returns = b"\r" in data  # much faster than counting without any
    while data.count(b"\n", start, end) + (data.count(b"\r", start, end) if returns else 0) > PIECE_LINES:
        end = start + (end - start) // 2
    return end
