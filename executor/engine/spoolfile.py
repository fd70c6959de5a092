"""The file of a spool: a header of one page, and then the stream. The byte at offset n is at n + 4096.

The header says what the sinks have taken. It is written in place: a kill does not tear a write within a page,
and no process survives a crash of the host. The size of the file says how far the stream has come: the kernel
finishes a ``splice`` before a signal ends the process.

What the sinks have taken is given back as a hole. Two files in turns cost the same, but need more
descriptors, and an offset would no longer say its place.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from itertools import starmap
from pathlib import Path

from common.failpoints import failpoint

logger = logging.getLogger(__name__)

HEADER_BYTES = 4096

LABELS = ".labels"
"""Suffix of the file with the labels of a stream."""

_FIXED = struct.Struct("<8sQQQ")
_SINK = struct.Struct("<8sQ")
_MAGIC = b"CELLSP1\n"

SINKS_MOST = (HEADER_BYTES - _FIXED.size) // _SINK.size
"""Sinks in a header."""

_KEEP_SIZE, _PUNCH_HOLE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a header says. taken_to: offset up to which every sink has the stream. exposed: number of lines
    that were in the sinks' memory only. sinks: how far each sink is, by its key.
    """

    taken_to: int
    exposed: int = 0
    sinks: Mapping[bytes, int] = field(default_factory=dict)


class SpoolFile:
    """An open file. A closed one is opened again for its header."""

    def __init__(self, path: Path, fd: int) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self.path = path
        self._fd = fd

    @classmethod
    def create(cls, path: Path, labels: bytes) -> SpoolFile:
        """A new file, and one with the labels beside it. Raises OSError."""
        _labels_of(path).write_bytes(labels)
        made = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            made.write_progress(Progress(taken_to=0))
        except OSError:
            made.close()
            made.remove()
            raise
        return made

    @classmethod
    def open(cls, path: Path) -> SpoolFile:
        """A file of a previous agent process. Raises OSError."""
        return cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def read_progress(self) -> Progress:
        """Read the header. Raises OSError, and ValueError for a file that is no spool."""
        header = os.pread(self._opened(), HEADER_BYTES, 0)
        if len(header) < _FIXED.size or not header.startswith(_MAGIC):
            raise ValueError(f"{self.path.name} is not a spool")
        _, taken_to, exposed, sinks = _FIXED.unpack_from(header)
        if sinks > SINKS_MOST:
            raise ValueError(f"{self.path.name} has an invalid header")
        each = _SINK.iter_unpack(header[_FIXED.size : _FIXED.size + sinks * _SINK.size])
        return Progress(taken_to=taken_to, exposed=exposed, sinks=dict(each))

    def write_progress(self, progress: Progress) -> None:
        """Write the header. Raises OSError."""
        header = _FIXED.pack(_MAGIC, progress.taken_to, progress.exposed, len(progress.sinks))
        os.pwrite(self._opened(), header + b"".join(starmap(_SINK.pack, progress.sinks.items())), 0)

    def length(self) -> int:
        """Length of the stream so far. Raises OSError."""
        return os.fstat(self._fd).st_size - HEADER_BYTES

    def splice(self, fifo: int, size: int, offset: int) -> int:
        """Move up to ``size`` bytes from the FIFO to ``offset``; returns how many. Raises OSError."""
        moved = os.splice(
            fifo,
            self._fd,
            size,
            offset_dst=HEADER_BYTES + offset,
            flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
        )
        failpoint("output.spliced")
        return moved

    def read(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes at ``offset``. Raises OSError."""
        return os.pread(self._fd, size, HEADER_BYTES + offset)

    def give_back(self, begin: int, end: int, length: int) -> bool:
        """Free the space between two offsets; without holes, only that of a whole stream. Raises OSError."""
        if not _libc.fallocate(self._fd, _PUNCH_HOLE | _KEEP_SIZE, HEADER_BYTES + begin, end - begin):
            return True
        if end < length:
            return False
        os.ftruncate(self._fd, HEADER_BYTES)
        return True

    def _opened(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self._fd

    def close(self) -> None:
        """Close the descriptor; a second call has no effect."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Remove the file with its labels, and its folder if nothing else is in it."""
        self.path.unlink(missing_ok=True)
        _labels_of(self.path).unlink(missing_ok=True)
        remove_empty(self.path.parent)


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


def _labels_of(path: Path) -> Path:
    return path.with_suffix(path.suffix + LABELS)
