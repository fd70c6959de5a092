"""Conversion of a zip to a tar, with its modes, times and symbolic links. Blocks."""

from __future__ import annotations

import calendar
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

from executor.cache.api import ArchiveError
from executor.cache.limits import Budget
from executor.cache.tarheaders import broken
from executor.cache.tars import Readable, TarWriter

_ENTRY = b"PK\x01\x02"
_ENTRY_BYTES = 256
"""Average bytes of the zip's directory per allowed member."""
_MAX_LINK_BYTES = 4096
_UTF8_NAME = 0x800
_NTFS, _UNIX, _INFO_ZIP_UNIX, _EXTENDED_TIME = 0x000A, 0x000D, 0x5855, 0x5455
_NTFS_TIMES = struct.Struct("<4xHHQ")
"""Reserved, tag and size of the first attribute, modification time."""
_NTFS_EPOCH_S = 11_644_473_600
"""Seconds from 1601 to 1970."""
_NTFS_TICKS = 10_000_000
"""Ticks per second."""


def zip_to_tar(source: Path, target: Path, budget: Budget) -> None:
    """Write the tar. Raises ArchiveError, OSError, and the library's errors for a broken zip."""
    with (
        _Reader(source, budget.limits.members) as file,
        zipfile.ZipFile(file) as packed,
        TarWriter.open(target, "w") as archive,
    ):
        for item in packed.infolist():
            budget.take_member()
            name = member_name(item)
            member = tarfile.TarInfo(name.rstrip("/"))
            member.mtime = modified(item)
            mode = item.external_attr >> 16
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
                member.mode = stat.S_IMODE(mode) or 0o755
                archive.addfile(member)
            elif stat.S_ISLNK(mode):
                member.type = tarfile.SYMTYPE
                member.mode = 0o777
                member.linkname = _link(packed, item)
                archive.addfile(member)
            else:
                member.mode = stat.S_IMODE(mode) or 0o644
                member.size = item.file_size
                with packed.open(item) as content:
                    archive.addfile(member, _Counted(content, budget))


def member_name(item: zipfile.ZipInfo) -> str:
    """The name from its raw bytes, invalid UTF-8 as surrogates. Raises ArchiveError. Pure.

    The library decodes names without the UTF-8 flag as code page 437, which few of them use.
    """
    name = item.orig_filename
    if not item.flag_bits & _UTF8_NAME:
        name = os.fsdecode(name.encode("cp437"))
    if not name.strip("/"):
        raise broken("a member has no name")
    if "\0" in name:
        raise broken("a member's name has a NUL")
    return name


def modified(item: zipfile.ZipInfo) -> int:
    """Modification time in s since 1970: from an extra field if any, else MS-DOS's time taken as UTC.

    Pure; follows Go's archive/zip.
    """
    extra, found = item.extra, None
    while len(extra) >= 4:
        tag, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if tag == _EXTENDED_TIME and len(field) >= 5 and field[0] & 1:
            found = int.from_bytes(field[1:5], "little")
        elif tag in (_UNIX, _INFO_ZIP_UNIX) and len(field) >= 8:
            found = int.from_bytes(field[4:8], "little")
        elif tag == _NTFS and len(field) >= _NTFS_TIMES.size:
            attribute, length, ticks = _NTFS_TIMES.unpack_from(field)
            if (attribute, length) == (1, 24):
                found = ticks // _NTFS_TICKS - _NTFS_EPOCH_S
    if found is not None:
        return found
    try:
        return calendar.timegm((*item.date_time, 0, 0, 0))
    except ValueError:  # a nonexistent month or day
        return 0


def _link(packed: zipfile.ZipFile, item: zipfile.ZipInfo) -> str:
    with packed.open(item) as content:
        link = content.read(_MAX_LINK_BYTES + 1)
    if len(link) > _MAX_LINK_BYTES:
        raise ArchiveError(f"archive refused: a symbolic link has more than {_MAX_LINK_BYTES} bytes")
    return os.fsdecode(link)


class _Counted:
    """Content whose bytes count against the budget as they are read."""

    def __init__(self, content: Readable, budget: Budget) -> None:
        self._content = content
        self._budget = budget

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._budget.take_bytes(len(data))
        return data


class _Reader(io.BufferedReader):
    """The file of a zip. The library reads the whole directory at once and creates an object per entry, so a
    zip with too many entries is refused in :meth:`read`.
    """

    def __init__(self, path: Path, members: int) -> None:
        super().__init__(io.FileIO(path))
        self._most = members

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._most * _ENTRY_BYTES + io.DEFAULT_BUFFER_SIZE:
            raise ArchiveError(
                f"archive refused: its directory has {size} bytes, too many for {self._most} members"
            )
        data = super().read(size)
        if data.count(_ENTRY) > self._most:
            raise ArchiveError(f"archive refused: it has more than {self._most} members")
        return data
