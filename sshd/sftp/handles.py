"""Handles of the files and directories that one client has open."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sshd.sftp.protocol import FAILURE, StatusError


class Handle:
    """An open file or directory, with the path used to open it."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.entries: Iterator[os.DirEntry[str]] | None = None

    def close(self) -> None:
        os.close(self.descriptor)


class Handles:
    """The table of open handles; their names are decimal counters."""

    def __init__(self) -> None:
        self._open: dict[bytes, Handle] = {}
        self._count = 0

    def add(self, handle: Handle) -> bytes:
        self._count += 1
        name = b"%d" % self._count
        self._open[name] = handle
        return name

    def get(self, name: bytes) -> Handle:
        """The handle of a name. Raises :class:`StatusError` for an unknown name."""
        try:
            return self._open[name]
        except KeyError:
            raise StatusError(FAILURE, "bad file descriptor") from None

    def close(self, name: bytes) -> None:
        self.get(name).close()
        del self._open[name]
