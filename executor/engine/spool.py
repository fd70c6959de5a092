"""Spools: output of durable processes on disk, from the FIFO until the log sinks have taken it.

What an agent process has read from a FIFO and not delivered dies with it. So it does not read: ``splice``
moves the bytes from the FIFO to a file, and the agent reads them there. The next agent process begins where
the sinks have come to. A kill loses and doubles nothing: the kernel finishes the call before the signal.

A file is a header of one page, and then the stream: the byte at offset n is at n + 4096. What the sinks have
taken is given back as a hole. Two files in turns cost the same, but need more descriptors, and an offset
would no longer say its place. The header is written in place: a kill does not tear a write within a page, and
no process survives a crash of the host.

Reading waits while the sinks are behind but get on, because then the file is the better place for output. It
does not wait for a sink that takes nothing.

A stream and the cell have bounds. Beyond them, the oldest output has no protection any more: it is in the
sinks' memory only, and the next agent process reports how many lines that cost.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from itertools import starmap
from pathlib import Path

from common.failpoints import failpoint

logger = logging.getLogger(__name__)

HEADER_BYTES = 4096

GIVE_BACK_BYTES = 1 << 20
"""Output taken by the sinks that stays in the file: a hole costs microseconds, so they are made rarely."""

LAG_BYTES = 2 << 20
"""Bytes that the cell has read and the sinks have not taken. A line takes about four times its size in a
sink's buffer of 32 MiB. What waits longer is no longer in the processor's cache.
"""

LAG_STREAM_BYTES = 256 << 10
"""Part of :data:`LAG_BYTES` that each stream has, however many there are: more than the longest line."""

STUCK_S = 1.0
"""Sinks that are behind and take nothing for this time are not waited for."""

LABELS = ".labels"
"""Suffix of the file with the labels of a stream."""

_FIXED = struct.Struct("<8sQQQ")
_SINK = struct.Struct("<8sQ")
_MAGIC = b"CELLSP1\n"
_SINKS_MOST = (HEADER_BYTES - _FIXED.size) // _SINK.size

_KEEP_SIZE, _PUNCH_HOLE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


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


class Spool:
    """One stream of one process. name: unique, also among processes of equal names."""

    def __init__(self, budget: SpoolBudget, path: Path, fd: int, name: str) -> None:
        """Use ``Spools.create`` or ``Spools.resume``."""
        self.path = path
        self.name = name
        self.detached = False
        self._budget = budget
        self._fd = fd
        self._finished = self._closed = False
        self._pending: deque[Delivery] = deque()
        self._exposed = 0
        self._full = self._unusable = False  # reported
        self._taken: dict[bytes, int] = {}
        self._taken_before: dict[bytes, int] = {}
        self._taken_to = self._given_back = 0
        self._written = self._read_to = 0

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
        header = os.pread(self._fd, HEADER_BYTES, 0)
        if len(header) < _FIXED.size or not header.startswith(_MAGIC):
            raise ValueError(f"{self.path.name} is not a spool")
        _, taken_to, lost, sinks = _FIXED.unpack_from(header)
        if sinks > _SINKS_MOST:
            raise ValueError(f"{self.path.name} has an invalid header")
        for key, offset in _SINK.iter_unpack(header[_FIXED.size : _FIXED.size + sinks * _SINK.size]):
            self._taken_before[key] = offset
        self._taken = dict(self._taken_before)
        self._read_to = self._given_back = self._taken_to = taken_to
        self._written = max(self._taken_to, os.fstat(self._fd).st_size - HEADER_BYTES)
        self._budget.grow(self.held)
        if lost:
            data = {"output": self.name, "lines": lost}
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
        return os.pread(self._fd, min(size, self.unread), HEADER_BYTES + self._read_to)

    def read_file(self, size: int) -> bytes:
        """Read up to ``size`` of the unread bytes. Raises OSError."""
        data = os.pread(self._fd, min(size, self.unread), HEADER_BYTES + self._read_to)
        if not data:
            raise OSError(f"{self.path.name} is shorter than it was")
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
        if key in self._taken or len(self._taken) < _SINKS_MOST:
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
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(self.path.suffix + LABELS).unlink(missing_ok=True)
            remove_empty(self.path.parent)
            return
        header = _FIXED.pack(_MAGIC, self._taken_to, self._exposed, len(self._taken))
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            if not (self.detached and self._is_outdated()):
                os.pwrite(self._fd, header + b"".join(starmap(_SINK.pack, self._taken.items())), 0)
                failpoint("output.saved")
            if self._taken_to - self._given_back >= GIVE_BACK_BYTES and not self.detached:
                self._give_back()
        except OSError as error:
            data = {"output": self.name, "error": str(error)}
            logger.warning("output-spool.not-saved", extra={"data": data})
        if self.detached and not self._pending:
            self._close()
        elif self._finished:  # there may be many, while a sink does not take their lines
            self._close_file()

    def _splice(self, fifo: int, size: int) -> int:
        """Move up to ``size`` bytes from the FIFO to the file; returns how many. Raises OSError."""
        moved = os.splice(
            fifo,
            self._fd,
            size,
            offset_dst=HEADER_BYTES + self._written,
            flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
        )
        failpoint("output.spliced")
        self._grown(moved)
        self._unusable = False
        return moved

    def _is_outdated(self) -> bool:
        """Whether the next user of the file has come further."""
        header = os.pread(self._fd, _FIXED.size, 0)
        return bool(_FIXED.unpack(header)[1] > self._taken_to)

    def _read_past(self, fifo: int, size: int, error: OSError) -> bytes:
        """Read from the FIFO to memory: the disk is full. The app goes on; a kill would lose this output."""
        if not self._unusable:
            self._unusable = True
            data = {"output": self.name, "error": str(error)}
            logger.warning("output-spool.unusable", extra={"data": data})
        data_read = os.read(fifo, size)
        if data_read:
            self.expose_oldest(self.held)
            self._budget.grow(len(data_read))
            self._written += len(data_read)
            self._budget.read(self._written - self._read_to)
            self._read_to = self._written
            self._take_up_to(self._written)
            self._changed()
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

    def _give_back(self) -> None:
        """Free the space of what the sinks have taken; without holes, once they have taken everything."""
        begin, size = HEADER_BYTES + self._given_back, self._taken_to - self._given_back
        if not _libc.fallocate(self._fd, _PUNCH_HOLE | _KEEP_SIZE, begin, size):
            self._given_back = self._taken_to
        elif self._taken_to == self._written:
            os.ftruncate(self._fd, HEADER_BYTES)
            self._given_back = self._taken_to

    def _close(self) -> None:
        self._closed = True
        self._budget.forget(self)
        self._close_file()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SpoolBudget:
    """What the spools of a cell share: their bounds, and one pass that saves them."""

    def __init__(self, stream_bytes: int, cell_bytes: int) -> None:
        self.stream_bytes = stream_bytes
        self.open: set[Spool] = set()
        self._cell_bytes = cell_bytes
        self._held = self._in_flight = 0
        self._progress_at = 0.0
        self._waiting: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._unsaved: dict[Spool, None] = {}

    @property
    def held(self) -> int:
        """Bytes of all streams that the sinks have not taken."""
        return self._held

    def grow(self, size: int) -> None:
        """Count bytes, or with a negative ``size`` bytes that were taken."""
        self._held += size

    def read(self, size: int) -> None:
        """Count bytes that were read and go to the sinks."""
        if self._in_flight <= LAG_BYTES < self._in_flight + size:
            self._progress_at = time.monotonic()
        self._in_flight += size

    def take(self, size: int) -> None:
        """Count read bytes that the sinks have taken."""
        self._in_flight -= size
        self._progress_at = time.monotonic()
        self._resume()

    def lags(self, spool: Spool) -> bool:
        """Whether the sinks are behind because of this stream, among others, and get on."""
        if self._in_flight <= LAG_BYTES:
            return False
        own = max(LAG_BYTES // len(self.open), LAG_STREAM_BYTES) if self.open else LAG_STREAM_BYTES
        return spool.in_flight > own and time.monotonic() - self._progress_at < STUCK_S

    def when_taken(self, then: Callable[[], None]) -> None:
        """See :meth:`Spool.when_taken`."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STUCK_S, self._look_again)
        self._waiting.append(then)

    def _look_again(self) -> None:
        self._timer = None
        self._resume()

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()

    def keep_bound(self) -> None:
        """Let the largest streams give up their oldest output while the cell is above its bound."""
        while self._held > self._cell_bytes and self.open:
            before = self._held
            largest = max(self.open, key=lambda spool: spool.held)
            largest.expose_oldest(self._held - self._cell_bytes)
            if self._held == before:
                return

    def save_soon(self, spool: Spool) -> None:
        """Save once in this iteration of the loop, before any task that starts now."""
        if not self._unsaved:
            asyncio.get_running_loop().call_soon(self._save)
        self._unsaved[spool] = None

    def forget(self, spool: Spool) -> None:
        """A spool is closed."""
        self.open.discard(spool)
        self._held -= spool.held
        self._in_flight -= spool.in_flight
        self._resume()

    def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        for spool in unsaved:
            spool.save()


@cache
def sink_key(name: str) -> bytes:
    """The key of a sink in a header."""
    return blake2b(name.encode(), digest_size=8).digest()


def remove_empty(folder: Path) -> None:
    """Remove a folder unless there are other spools in it."""
    try:
        folder.rmdir()
    except OSError:
        logger.debug("spool-folder-in-use", extra={"data": {"folder": folder.name}})
