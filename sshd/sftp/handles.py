"""Open files and directories of one conversation, under the names the client uses for them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sshd.sftp.protocol import FAILURE, StatusError


class Handle:
    """An open file or directory, and the path it was opened by."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.entries: Iterator[os.DirEntry[str]] | None = None

    def close(self) -> None:
        os.close(self.descriptor)


class Handles:
    """Handles are decimal counters."""

    def __init__(self) -> None:
        self._open: dict[bytes, Handle] = {}
        self._count = 0

    def add(self, handle: Handle) -> bytes:
        self._count += 1
        name = b"%d" % self._count
        self._open[name] = handle
        return name

    def get(self, name: bytes) -> Handle:
        """Raises :class:`StatusError` for a name that is not in use."""
        try:
            return self._open[name]
        except KeyError:
            raise StatusError(FAILURE, "bad file descriptor") from None

    def close(self, name: bytes) -> None:
        self.get(name).close()
        del self._open[name]
