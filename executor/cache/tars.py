"""A tar read or written without a list of its members in memory, and without believing its headers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from executor.cache.api import ArchiveError

HEADER_LIMIT = 1 << 20
"""Bytes that may stand between the content of two members: long names, extended attributes, maps of holes."""


class Readable(Protocol):
    """Where content comes from."""

    def read(self, length: int = ..., /) -> bytes: ...


class _Watched(io.BufferedReader):
    """The file of a tar. The library reads a header in one go, however big it says it is."""

    left: int | None = None
    """Bytes that may be read yet; None for any number."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.left is not None:
            self.left -= size or 0
            if self.left < 0:
                raise ArchiveError(f"archive refused: one of its headers has more than {HEADER_LIMIT} bytes")
        return super().read(size)


class Tar(tarfile.TarFile):
    """Forgets every member it has passed; so nothing that looks a member up by name works on it."""

    members: list[tarfile.TarInfo]

    def next(self) -> tarfile.TarInfo | None:
        file = self.fileobj
        if not isinstance(file, _Watched):
            return self._passed()
        file.left = HEADER_LIMIT
        try:
            return self._passed()
        finally:
            file.left = None

    def _passed(self) -> tarfile.TarInfo | None:
        member = super().next()
        self.members.clear()
        return member

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Readable | None = None) -> None:
        super().addfile(tarinfo, fileobj)
        self.members.clear()


@contextmanager
def reading(path: Path) -> Iterator[Tar]:
    """An uncompressed tar. Raises OSError, TarError, and ArchiveError for a header that is too big."""
    with _Watched(io.FileIO(path)) as file, Tar.open(fileobj=file, mode="r:") as archive:
        yield archive
