"""The component log in a file: follows a rotation by another program, or rotates the file itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cell.assembly.logwriter import CAPACITY_BYTES, CLOSE_LIMIT_S, Line, LogWriter

KEPT: Final = 3
"""Rotated files that are kept: FILE.1, the newest, and so on."""
MODE: Final = 0o600


class LogFile(LogWriter):
    """Appends to a file by name. A file that was moved away or removed is made again with the next lines.

    most_bytes: a file of this size is rotated; 0: never. Raises OSError if the file cannot be opened; later
    the last open file stays in use.
    """

    def __init__(
        self,
        path: Path,
        *,
        most_bytes: int = 0,
        kept: int = KEPT,
        capacity: int = CAPACITY_BYTES,
        close_limit_s: float = CLOSE_LIMIT_S,
    ) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._kept = kept
        opened = _opened(path)
        try:
            super().__init__(opened, capacity=capacity, close_limit_s=close_limit_s)
        finally:
            os.close(opened)

    def _write(self, batch: list[Line]) -> list[Line]:
        try:
            self._follow()
        except OSError:
            return super()._write(batch)  # to the file that is open
        return super()._write(batch)

    def _follow(self) -> None:
        """Open the file again if its name means another one, after a rotation if it is due."""
        current = os.fstat(self._descriptor)
        if self._most_bytes and current.st_size >= self._most_bytes:
            self._rotate()
        try:
            named = self._path.stat(follow_symlinks=False)
        except FileNotFoundError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (current.st_dev, current.st_ino):
            opened = _opened(self._path)
            try:
                os.dup2(opened, self._descriptor, inheritable=False)
            finally:
                os.close(opened)

    def _rotate(self) -> None:
        for number in range(self._kept, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, MODE)
    os.fchmod(descriptor, MODE)
    return descriptor
