"""Private directories of the agent inside world-writable directories like ``/tmp``.

Their names are predictable. A user who creates such a directory first could read and replace its files, or
redirect the agent with a link.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


class NotPrivate(OSError):
    """A directory of the agent belongs to another user, or is a link or no directory."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}; remove it, or configure another place")


def make_private(path: Path, mode: int = 0o700) -> None:
    """Create a directory and its parents if missing, and ensure that only this user can change it.

    mode: permissions of owner and group; others get none. Blocks. Raises NotPrivate, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NotPrivate(path, "it is a link or no directory") from error
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            raise NotPrivate(path, f"it belongs to user {status.st_uid}")
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)
