"""Directories of the agent in places where others may write, like ``/tmp``.

Their names are known beforehand. Whoever makes such a directory first could read and replace what the agent
puts there, or lead the agent elsewhere by a link.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


class NotPrivate(OSError):
    """A directory of the agent belongs to somebody else, or is something else."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}; remove it, or configure another place")


def make_private(path: Path, mode: int = 0o700) -> None:
    """Make a directory with its parents, unless it is there already, and see that only we can change it.

    mode: permissions; nothing for others than owner and group. Blocking. Raises NotPrivate, OSError.
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
