"""Spools: output of durable processes on disk, from the FIFO until the log sinks have taken it.

What an agent process has read from a FIFO and not delivered dies with it. So it does not read: ``splice``
moves the bytes from the FIFO to a file, and the agent reads them there. The next agent process begins where
the sinks have come to. A kill loses and doubles nothing.

A stream and the cell have bounds. Beyond them, the oldest output has no protection any more: it is in the
sinks' memory only, and the next agent process reports how many lines that cost.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from common.failpoints import failpoint
from executor.engine.spoolbudget import SpoolBudget
from executor.engine.spoolfile import SINKS_MOST, Progress, SpoolFile, sink_key

logger = logging.getLogger(__name__)

GIVE_BACK_BYTES = 1 << 20
"""Output taken by the sinks that stays in the file: a hole costs microseconds, so they are made rarely."""


WORKS_AGAIN_S = 10.0
"""A disk that has refused no output for this time works again. One at its limit takes some now and then."""


class Delivery:
    """The lines of one read, on their way to the sinks.

    name: unique name of the stream. end: where in it the lines end. lines: their number.
    The stream is taken up to ``end`` once the creator and each sink have released the delivery.
    """

    __slots__ = ("_holders", "_spool", "end", "exposed", "lines", "name")

    def __init__(self, spool: Spool, end: int) -> None:
        self._spool = spool
        self._holders = 1
        self.name = spool.name
        self.end = end
        self.lines = 0
        self.exposed = False

    @property
    def released(self) -> bool:
        return self._holders == 0

    def hold(self) -> None:
        """Keep the lines in the spool until one more :meth:`release`."""
        self._holders += 1

    def release(self) -> None:
        """The creator, or a sink, does not need the lines any more."""
        self._holders -= 1
        if not self._holders:
            self._spool.released(self)

    def count(self, lines: int) -> None:
        """Count lines that are given to the sinks."""
        self.lines += lines
        if self.exposed:
            self._spool.expose(lines)

    def taken(self, sink: str, offset: int) -> None:
        """The destination of ``sink`` has the lines up to ``offset``."""
        self._spool.taken(sink, offset)

    def taken_before(self, sink: str) -> int:
        """Up to which offset the destination of ``sink`` got lines from previous agent processes."""
        return self._spool.taken_before(sink)

    @property
    def resumed_at(self) -> int:
        """How far the stream had come under previous agent processes."""
        return self._spool.resumed_at


class Spool:
    """One stream of one process. name: unique, also among processes of equal names."""

    def __init__(self, budget: SpoolBudget, file: SpoolFile, name: str) -> None:
        """Use ``Spools.create`` or ``Spools.resume``."""
        self.name = name
        self.detached = False
        self._budget = budget
        self._file = file
        self._finished = self._closed = False
        self._pending: deque[Delivery] = deque()
        self._exposed = 0
        self._full = self._unsaved = False  # reported
        self._unusable = False
        self._refused_at: float | None = None
        """When the disk refused output last, until it is reported that it works again."""
        self._taken: dict[bytes, int] = {}
        self._taken_before: dict[bytes, int] = {}
        self._taken_to = self._given_back = 0
        self._written = self._read_to = 0
        self.resumed_at = 0

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def unread(self) -> int:
        """Bytes in the file that are still to be read."""
        return self._written - self._read_to

    @property
    def read_to(self) -> int:
        """Offset up to which the stream has been read."""
        return self._read_to

    @property
    def in_flight(self) -> int:
        """Bytes that were read and that the sinks have not taken."""
        return self._read_to - self._taken_to

    @property
    def lags(self) -> bool:
        """Whether reading should wait for the sinks; :meth:`when_taken` tells when to look again."""
        return self._budget.lags(self)

    def when_taken(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the sinks have taken output of any stream, or have taken none for a time."""
        self._budget.when_taken(then)

    @property
    def held(self) -> int:
        """Bytes that the sinks have not taken."""
        return self._written - self._taken_to

    def recover(self) -> None:
        """Read what a previous agent process left. Raises OSError or ValueError."""
        found = self._file.read_progress()
        self._taken_before = dict(found.sinks)
        self._taken = dict(found.sinks)
        self._read_to = self._given_back = self._taken_to = found.taken_to
        self._written = self.resumed_at = max(self._taken_to, self._file.length())
        self._budget.grow(self.held)
        if found.exposed:
            data = {"output": self.name, "lines": found.exposed}
            logger.warning("output-spool.lost", extra={"data": data})

    def read(self, fifo: int, size: int) -> bytes:
        """Read up to ``size`` bytes: unread ones of the file, else of the FIFO, which goes through the file.

        Empty at the end of the FIFO. Raises BlockingIOError without output, and OSError.
        """
        if not self.unread:
            try:
                if not self._splice(fifo, size):
                    return b""
            except BlockingIOError:
                raise
            except OSError as error:
                return self._read_past(fifo, size, error)
        return self.read_file(size)

    def peek(self, fifo: int, size: int) -> bytes:
        """The first ``size`` unread bytes at most, which stay unread. Raises BlockingIOError, OSError."""
        if not self.unread:
            self._splice(fifo, size)
        return self._file.read(min(size, self.unread), self._read_to)

    def read_file(self, size: int) -> bytes:
        """Read up to ``size`` of the unread bytes. Raises OSError."""
        data = self._file.read(min(size, self.unread), self._read_to)
        if not data:
            raise OSError(f"{self.name} is shorter than it was")
        self._read_to += len(data)
        self._budget.read(len(data))
        return data

    def deliver(self) -> Delivery:
        """A delivery that begins where the last one ends."""
        delivery = Delivery(self, self._pending[-1].end if self._pending else self._taken_to)
        delivery.exposed = self._unusable
        self._pending.append(delivery)
        return delivery

    def expose(self, lines: int) -> None:
        """Count lines that are in the sinks' memory only."""
        self._exposed += lines

    def released(self, delivery: Delivery) -> None:
        """Called by a delivery without holders."""
        if delivery.exposed:
            self._exposed -= delivery.lines
        while self._pending and self._pending[0].released:
            self._take_up_to(self._pending.popleft().end)
        self._changed()

    def taken(self, sink: str, offset: int) -> None:
        """See :meth:`Delivery.taken`."""
        key = sink_key(sink)
        if key in self._taken or len(self._taken) < SINKS_MOST:
            self._taken[key] = offset
        self._changed()

    def taken_before(self, sink: str) -> int:
        """See :meth:`Delivery.taken_before`."""
        return self._taken_before.get(sink_key(sink), 0) if self._taken_before else 0

    def expose_oldest(self, excess: int) -> None:
        """Free ``excess`` bytes: the oldest lines stay in the sinks' memory only."""
        until = self._taken_to + excess
        while self._pending and self._taken_to < until:
            delivery = self._pending.popleft()
            if not delivery.exposed:
                delivery.exposed = True
                self.expose(delivery.lines)
            self._take_up_to(delivery.end)
        if self._exposed and not self._full:
            self._full = True
            logger.warning("output-spool.full", extra={"data": {"output": self.name}})
        self._changed()

    def finish(self) -> None:
        """No more output comes. The file is removed once the sinks have taken all of it."""
        self._finished = True
        self._changed()

    def discard(self) -> None:
        """Remove the file and its undelivered output."""
        self._take_up_to(self._written)
        self.finish()

    def detach(self) -> None:
        """The next agent process goes on. The rest of a line is left to it."""
        self.save()
        self.detached = True
        if not self._pending:
            self._close()

    def save(self) -> None:
        """Write the header, give back space, and close a file that is not needed any more."""
        if self._closed:
            return
        if self._finished and self._taken_to >= self._written and not self.detached:
            self._close()
            self._file.remove()
            return
        try:
            self._write_progress()
            self._give_back()
            self._unsaved = False
        except (OSError, ValueError) as error:
            if not self._unsaved:
                self._unsaved = True
                data = {"output": self.name, "error": str(error)}
                logger.warning("output-spool.not-saved", extra={"data": data})
        if self.detached and not self._pending:
            self._close()
        elif self._finished:  # there may be many, while a sink does not take their lines
            self._file.close()

    def _write_progress(self) -> None:
        """Write what is taken, unless the next user of the file has come further. Raises OSError."""
        if not (self.detached and self._file.read_progress().taken_to > self._taken_to):
            self._file.write_progress(
                Progress(taken_to=self._taken_to, exposed=self._exposed, sinks=self._taken)
            )
            failpoint("output.saved")

    def _give_back(self) -> None:
        """Free the space of what the sinks have taken. Raises OSError."""
        due = self._taken_to - self._given_back >= GIVE_BACK_BYTES and not self.detached
        if due and self._file.give_back(self._given_back, self._taken_to, self._written):
            self._given_back = self._taken_to

    def _splice(self, fifo: int, size: int) -> int:
        """Move up to ``size`` bytes from the FIFO to the file; returns how many. Raises OSError."""
        moved = self._file.splice(fifo, size, self._written)
        self._grown(moved)
        self._unusable = False
        if self._refused_at is not None and time.monotonic() - self._refused_at >= WORKS_AGAIN_S:
            self._refused_at = None
            logger.info("output-spool.works-again", extra={"data": {"output": self.name}})
        return moved

    def _read_past(self, fifo: int, size: int, error: OSError) -> bytes:
        """Read from the FIFO to memory: the disk is full. The app goes on; a kill would lose this output."""
        if self._refused_at is None:
            data = {"output": self.name, "error": str(error)}
            logger.warning("output-spool.unusable", extra={"data": data})
        self._unusable, self._refused_at = True, time.monotonic()
        data_read = os.read(fifo, size)
        if data_read:
            self.expose_oldest(self.held)
            self._budget.grow(len(data_read))
            self._written += len(data_read)
            self._budget.read(self._written - self._read_to)
            self._read_to = self._written
            self._take_up_to(self._written)
            self.save()  # before any sink has the lines: their offsets must not come again
        return data_read

    def _grown(self, size: int) -> None:
        self._written += size
        self._budget.grow(size)
        if self.held > self._budget.stream_bytes:
            self.expose_oldest(self.held - self._budget.stream_bytes)
        self._budget.keep_bound()

    def _take_up_to(self, offset: int) -> None:
        if offset > self._taken_to:
            self._budget.grow(self._taken_to - offset)
            self._budget.take(min(offset, self._read_to) - min(self._taken_to, self._read_to))
            self._taken_to = offset

    def _changed(self) -> None:
        if not self._exposed:
            self._full = False
        if self.detached:
            self.save()
        else:
            self._budget.save_soon(self)

    def _close(self) -> None:
        self._closed = True
        self._budget.forget(self)
        self._file.close()
