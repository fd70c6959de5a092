"""Archive conversion: every known kind becomes a tar, and a tar becomes a directory.

Calls block; run them in a thread. Content is streamed, and its unpacked size counts against a budget:
sizes in headers are not trusted. Every reader failure is an ArchiveError.
"""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from executor.cache.api import ArchiveError
from executor.cache.limits import DEFAULT_LIMITS, Budget
from executor.cache.tarheaders import broken
from executor.cache.tars import Readable, TarWriter, members
from executor.cache.unpacking import Rules, Unpacking
from executor.cache.zips import zip_to_tar

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MAGIC = b"ustar\0"
_TAR_MAGIC_OFFSET = 257

_CACHED = Rules(fifos=False)
"""A FIFO in a directory that several containers mount would connect them."""


def to_tar(source: Path, target: Path, budget: Budget | None = None) -> None:
    """Convert ``source`` to the tar ``target``: decompress gzip, rewrite zip, rename a POSIX tar.

    ``source`` is removed. Raises ArchiveError, OSError. A plain tar in GNU's own format is not recognised;
    gzipped it is accepted.
    """
    with source.open("rb") as file:
        head = file.read(_TAR_MAGIC_OFFSET + len(_TAR_MAGIC))
    packed = source.stat().st_size
    budget = budget or Budget(DEFAULT_LIMITS, packed)
    if head.startswith(_GZIP_MAGIC):
        with reader_errors(), gzip.open(source) as unpacked, target.open("wb") as out:
            _copy(unpacked, out, budget)
        source.unlink()
    elif head.startswith(_ZIP_MAGICS):
        with reader_errors():
            zip_to_tar(source, target, budget)
        source.unlink()
    elif head[_TAR_MAGIC_OFFSET:] == _TAR_MAGIC:
        source.rename(target)
    else:
        raise ArchiveError("unknown archive format")
    check(target, budget.renewed(packed))


def check(path: Path, budget: Budget) -> None:
    """Read a tar's headers to its end, and count the unpacked size: sparse members can exceed the tar's size.
    Raises ArchiveError if it is broken or too large, OSError.
    """
    with path.open("rb") as tar:
        for member in members(tar.fileno()):
            budget.take_member(member.name)
            budget.take_bytes(member.size)


def _copy(source: Readable, target: IO[bytes], budget: Budget) -> None:
    while chunk := source.read(_CHUNK):
        budget.take_bytes(len(chunk))
        target.write(chunk)


@contextmanager
def reader_errors() -> Iterator[None]:
    """Convert any reader error for a broken archive to ArchiveError.

    The library's readers raise various errors: RuntimeError for an encrypted member, struct.error for a
    truncated field, UnicodeDecodeError for a name, OSError for broken bzip2.
    """
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:
        raise broken(str(error) or type(error).__name__) from error


def tar_directory(source: Path, target: Path, budget: Budget | None = None) -> None:
    """Create the tar ``target`` from a directory's content. Raises ArchiveError, OSError."""
    counted = budget or Budget(DEFAULT_LIMITS, 0)

    def count(member: tarfile.TarInfo) -> tarfile.TarInfo:
        counted.take_member()
        return member

    with TarWriter.open(target, "w") as archive:
        for name in sorted(os.listdir(source)):
            archive.add(source / name, name, filter=count)


def extract(source: Path, target: Path, budget: Budget | None = None) -> None:
    """Unpack a tar into the new directory ``target``. Raises ArchiveError, OSError.

    The owner is our user, modes are the archive's with umask 022, links are kept. Refused are absolute
    names, names with ``..``, names behind a link to outside of ``target``, hard links to outside, and
    devices. A FIFO becomes an empty file.
    """
    budget = budget or Budget(DEFAULT_LIMITS, source.stat().st_size)
    target.mkdir()
    target.chmod(0o755)
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with source.open("rb") as tar, Unpacking(tar.fileno(), root, "/", budget, _CACHED) as unpacking:
            unpacking.run()
    finally:
        os.close(root)
