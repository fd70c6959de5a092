"""A zip becomes a tar, with its modes and symbolic links. Blocking."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

from executor.cache.api import ArchiveError
from executor.cache.limits import Budget
from executor.cache.tars import Readable, Tar

_ENTRY = b"PK\x01\x02"
_ENTRY_BYTES = 256
"""Of the zip's directory, on average and at most, for each member that is allowed."""
_MAX_LINK_BYTES = 4096


def zip_to_tar(source: Path, target: Path, budget: Budget) -> None:
    """Write the tar. Raises ArchiveError, OSError, and the library's errors for what is broken."""
    with (
        _Reader(source, budget.limits.members) as file,
        zipfile.ZipFile(file) as packed,
        Tar.open(target, "w") as archive,
    ):
        for item in packed.infolist():
            budget.take_member()
            member = tarfile.TarInfo(item.filename.rstrip("/"))
            mode = item.external_attr >> 16
            if item.is_dir():
                member.type = tarfile.DIRTYPE
                member.mode = stat.S_IMODE(mode) or 0o755
                archive.addfile(member)
            elif stat.S_ISLNK(mode):
                member.type = tarfile.SYMTYPE
                member.mode = 0o777
                with packed.open(item) as content:
                    member.linkname = os.fsdecode(content.read(_MAX_LINK_BYTES))
                archive.addfile(member)
            else:
                member.mode = stat.S_IMODE(mode) or 0o644
                member.size = item.file_size
                with packed.open(item) as content:
                    archive.addfile(member, _Counted(content, budget))


class _Counted:
    """Content that is paid for as it is read."""

    def __init__(self, content: Readable, budget: Budget) -> None:
        self._content = content
        self._budget = budget

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._budget.take_bytes(len(data))
        return data


class _Reader(io.BufferedReader):
    """The file of a zip. The library reads the directory in one go and makes an object of every entry: that
    is where a zip with too many of them is refused."""

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
