"""A tar that is read or written without a list of its members in memory."""

from __future__ import annotations

import tarfile
from typing import Protocol


class Readable(Protocol):
    """Where content comes from."""

    def read(self, length: int = ..., /) -> bytes: ...


class Tar(tarfile.TarFile):
    """Forgets every member it has passed; so nothing that looks a member up by name works on it."""

    members: list[tarfile.TarInfo]

    def next(self) -> tarfile.TarInfo | None:
        member = super().next()
        self.members.clear()
        return member

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Readable | None = None) -> None:
        super().addfile(tarinfo, fileobj)
        self.members.clear()
