"""Archives: every kind we know becomes a tar, and a tar becomes a directory that nothing leaves.

Blocking; callers run it in a thread. Content is streamed and what it becomes is counted against a budget:
nothing here is as big as an archive says it is.
"""

from __future__ import annotations

import gzip
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from executor.cache.api import ArchiveError
from executor.cache.limits import DEFAULT_LIMITS, Budget
from executor.cache.tars import Readable, Tar, reading
from executor.cache.weighing import weigh
from executor.cache.zips import zip_to_tar

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MAGIC = b"ustar\0"
_TAR_MAGIC_OFFSET = 257
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)


def to_tar(source: Path, target: Path, budget: Budget | None = None) -> None:
    """Make ``target`` the tar of what ``source`` holds: gzip is decompressed, zip rewritten, a POSIX tar
    taken as it is. ``source`` is gone afterwards. Raises ArchiveError, OSError.

    A plain tar in GNU's own format is not recognised; gzipped it passes.
    """
    with source.open("rb") as file:
        head = file.read(_TAR_MAGIC_OFFSET + len(_TAR_MAGIC))
    packed = source.stat().st_size
    budget = budget or Budget(DEFAULT_LIMITS, packed)
    with _broken_archives(source):
        if head.startswith(_GZIP_MAGIC):
            with gzip.open(source) as unpacked, target.open("wb") as out:
                _copy(unpacked, out, budget)
            source.unlink()
        elif head.startswith(_ZIP_MAGICS):
            zip_to_tar(source, target, budget)
            source.unlink()
        elif head[_TAR_MAGIC_OFFSET:] == _TAR_MAGIC:
            source.rename(target)
        else:
            raise ArchiveError("unknown archive format")
    weigh(target, budget.anew(packed))


def _copy(source: Readable, target: IO[bytes], budget: Budget) -> None:
    while chunk := source.read(_CHUNK):
        budget.take_bytes(len(chunk))
        target.write(chunk)


@contextmanager
def _broken_archives(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise ArchiveError(f"broken archive {path.name}: {error}") from error


def tar_directory(source: Path, target: Path, budget: Budget | None = None) -> None:
    """Make ``target`` the tar of a directory's content. Raises ArchiveError, OSError."""
    counted = budget or Budget(DEFAULT_LIMITS, 0)

    def count(member: tarfile.TarInfo) -> tarfile.TarInfo:
        counted.take_member()
        return member

    with Tar.open(target, "w") as archive:
        for name in sorted(os.listdir(source)):
            archive.add(source / name, name, filter=count)


def extract(source: Path, target: Path, budget: Budget | None = None) -> None:
    """Unpack a tar into the directory ``target``, which is made. Raises ArchiveError, OSError.

    Modes are those of the archive, as far as the umask lets them; owner is our user; symbolic links are
    kept. An absolute name, one with ``..``, one that would be written through a link to outside of
    ``target``, a hard link to elsewhere and a device are refused.
    """
    budget = budget or Budget(DEFAULT_LIMITS, source.stat().st_size)
    target.mkdir(mode=0o755)
    root = Path(os.path.realpath(target))
    modes: dict[Path, int] = {}
    with _broken_archives(source), reading(source) as archive:
        for member in archive:
            budget.take_member(member.name)
            path = _place(root, member.name, budget)
            if path is not None:
                _write(archive, member, root, path, modes, budget)
    for path, mode in reversed(modes.items()):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & mode)


def _place(root: Path, name: str, budget: Budget) -> Path | None:
    """Where a member goes; None for the root itself. Its parents are made."""
    if name.startswith("/") or ".." in name.split("/"):
        raise ArchiveError(f"archive member {name!r} is refused: it leads out of its destination")
    relative = posixpath.normpath(name)
    if relative == ".":
        return None
    path = root / relative
    parent = Path(os.path.realpath(path.parent))
    if parent != root and root not in parent.parents:
        raise ArchiveError(f"archive member {name!r} is written through a link that leaves its destination")
    budget.take_depth(len(parent.parts) - len(root.parts), name)
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return parent / path.name


def _write(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    root: Path,
    path: Path,
    modes: dict[Path, int],
    budget: Budget,
) -> None:
    mode = member.mode & 0o7777
    if member.isdir():
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            path.mkdir(mode=mode | 0o700)
        modes[path] = mode
        return
    if path.is_dir() and not path.is_symlink():
        raise ArchiveError(f"archive member {member.name!r} would replace a directory")
    path.unlink(missing_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        original = _place(root, member.linkname, budget)
        if original is None or original.is_symlink() or not original.is_file():
            raise ArchiveError(
                f"archive member {member.name!r} links to {member.linkname!r}, which is no file"
            )
        os.link(original, path)
    elif member.isreg():
        content = archive.extractfile(member) or BytesIO()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file, content:
            _copy(content, file, budget)
    else:
        raise ArchiveError(f"archive member {member.name!r} is a device or of an unknown kind")
