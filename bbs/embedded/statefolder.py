"""Modes of what the control plane keeps: its records hold SSH keys, image passwords and environments."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
COMPANIONS: Final = ("-wal", "-shm")
"""Files that SQLite makes beside a database, with the database's mode."""


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may use, and tighten one that is there. Raises OSError.

    A folder with the sticky bit, such as /tmp, is shared on purpose and stays as it is.
    """
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX:
        path.chmod(FOLDER_MODE)


def private_database(path: Path) -> None:
    """Make the file of a database that only its owner may read, and tighten what is there. Raises OSError."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
    path.chmod(FILE_MODE)
    for suffix in COMPANIONS:
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").chmod(FILE_MODE)
