"""Archives: every kind we know becomes a tar, and a tar becomes a directory that nothing leaves.

Blocking; callers run it in a thread. Content is streamed.
"""

from __future__ import annotations

import gzip
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from executor.cache.api import ArchiveError

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MAGIC = b"ustar\0"
_TAR_MAGIC_OFFSET = 257
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)


def to_tar(source: Path, target: Path) -> None:
    """Make ``target`` the tar of what ``source`` holds: gzip is decompressed, zip rewritten, a POSIX tar
    taken as it is. ``source`` is gone afterwards. Raises ArchiveError, OSError.

    A plain tar in GNU's own format is not recognised; gzipped it passes.
    """
    with source.open("rb") as file:
        head = file.read(_TAR_MAGIC_OFFSET + len(_TAR_MAGIC))
    with _broken_archives(source):
        if head.startswith(_GZIP_MAGIC):
            with gzip.open(source) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out, _CHUNK)
        elif head.startswith(_ZIP_MAGICS):
            _zip_to_tar(source, target)
        elif head[_TAR_MAGIC_OFFSET:] == _TAR_MAGIC:
            source.rename(target)
            return
        else:
            raise ArchiveError("unknown archive format")
    source.unlink()


@contextmanager
def _broken_archives(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise ArchiveError(f"broken archive {path.name}: {error}") from error


def _zip_to_tar(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as packed, tarfile.open(target, "w") as archive:
        for item in packed.infolist():
            member = tarfile.TarInfo(item.filename.rstrip("/"))
            mode = item.external_attr >> 16
            if item.is_dir():
                member.type = tarfile.DIRTYPE
                member.mode = stat.S_IMODE(mode) or 0o755
                archive.addfile(member)
            elif stat.S_ISLNK(mode):
                member.type = tarfile.SYMTYPE
                member.mode = 0o777
                member.linkname = os.fsdecode(packed.read(item))
                archive.addfile(member)
            else:
                member.mode = stat.S_IMODE(mode) or 0o644
                member.size = item.file_size
                with packed.open(item) as content:
                    archive.addfile(member, content)


def tar_directory(source: Path, target: Path) -> None:
    """Make ``target`` the tar of a directory's content. Raises OSError."""
    with tarfile.open(target, "w") as archive:
        for path in sorted(source.iterdir()):
            archive.add(path, path.name)


def extract(source: Path, target: Path) -> None:
    """Unpack a tar into the directory ``target``, which is made. Raises ArchiveError, OSError.

    Modes are those of the archive, as far as the umask lets them; owner is our user; symbolic links are
    kept. A member that would be written outside of ``target``, by its name or through a link, is refused,
    and so are devices.
    """
    target.mkdir(mode=0o755)
    root = Path(os.path.realpath(target))
    modes: dict[Path, int] = {}
    with _broken_archives(source), tarfile.open(source, "r:") as archive:
        for member in archive:
            path = _place(root, member.name)
            if path is not None:
                _write(archive, member, root, path, modes)
    for path, mode in reversed(modes.items()):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & mode)


def _place(root: Path, name: str) -> Path | None:
    """Where a member goes; None for the root itself. Its parents are made."""
    relative = posixpath.normpath(name.lstrip("/"))
    if relative == ".." or relative.startswith("../"):
        raise ArchiveError(f"archive member {name!r} is outside of its destination")
    if relative == ".":
        return None
    path = root / relative
    parent = Path(os.path.realpath(path.parent))
    if parent != root and root not in parent.parents:
        raise ArchiveError(f"archive member {name!r} is written through a link that leaves its destination")
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return parent / path.name


def _write(
    archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, path: Path, modes: dict[Path, int]
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
        original = _place(root, member.linkname)
        if original is None or original.is_symlink() or not original.is_file():
            raise ArchiveError(
                f"archive member {member.name!r} links to {member.linkname!r}, which is no file"
            )
        os.link(original, path)
    elif member.isreg():
        content = archive.extractfile(member) or BytesIO()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file, content:
            shutil.copyfileobj(content, file, _CHUNK)
    else:
        raise ArchiveError(f"archive member {member.name!r} is a device or of an unknown kind")
