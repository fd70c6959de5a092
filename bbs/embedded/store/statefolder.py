"""File modes of the control plane's state: its records contain SSH keys, image passwords and environments."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
COMPANIONS: Final = ("-wal", "-shm")
"""Files that SQLite creates beside a database, with the database's mode."""
OTHERS: Final = 0o077
OWN_FILES: Final = frozenset(
    {
        *("bbs.db", "dev.lock", "agent.lock", "cell.log", "run.log", "endpoints.json", "static"),
        *(f"cell-{number}" for number in range(1, 10)),
    }
)
"""Names that show that a folder is a state folder. Users fill ``static`` before the first start."""
OF_FILE_SYSTEM: Final = "lost+found"
"""Folder that an empty file system contains."""


class SharedFolder(OSError):
    """A folder cannot be made private because others use it too."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def private_folder(path: Path) -> None:
    """Create a folder that only its owner can access, or restrict an existing one.

    A folder with the sticky bit, such as /tmp, is shared on purpose and stays unchanged. Raises OSError, and
    :class:`SharedFolder` for a folder that other users may access and whose files belong to other
    programs, such as /var/lib: restricting it would break those programs.
    """
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX or not status.st_mode & OTHERS:
        return
    names = {each.name for each in path.iterdir()} - {OF_FILE_SYSTEM}
    if names and not names & OWN_FILES:
        words = "other users can read this folder and it has files of other programs; name another folder"
        raise SharedFolder(errno.EPERM, words, str(path))
    path.chmod(FOLDER_MODE)


def private_database(path: Path) -> None:
    """Create a database file that only its owner can read, or restrict existing files. Raises OSError."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
    path.chmod(FILE_MODE)
    for suffix in COMPANIONS:
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").chmod(FILE_MODE)
