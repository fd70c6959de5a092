"""State folder of a command: used by one process at a time, readable by its owner only.

It contains secrets: records with SSH keys, image passwords and environments; private keys; logs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from bbs.embedded.store.statefolder import FILE_MODE, FOLDER_MODE, private_folder
from cell.assembly.locks import AlreadyInUse, take

LOCK_NAME: Final = "dev.lock"
LOG_NAME: Final = "cell.log"
ENDPOINTS_NAME: Final = "endpoints.json"
KEYS_NAME: Final = "tls"
"""Folder of certificates and their keys."""


@contextmanager
def held(folder: Path, command: str) -> Iterator[None]:
    """Hold the folder exclusively. Before the lock is held, only the folder's creation and mode may change.

    Raises AlreadyInUse, OSError.
    """
    private_folder(folder)
    with ExitStack() as stack:
        holder = take(folder / LOCK_NAME, stack)
        if holder is not None:
            raise AlreadyInUse(
                f"the state folder {folder} is in use by another `{command}`{holder}: stop that one, or give "
                "this one another --state-dir"
            )
        _tighten(folder)
        yield


def _tighten(folder: Path) -> None:
    """Restrict files that earlier versions left world-readable to the owner. Raises OSError.

    Only our files: the folder may contain others.
    """
    keys = folder / KEYS_NAME
    if keys.is_dir() and not keys.is_symlink():
        keys.chmod(FOLDER_MODE)
    for path in (folder / LOG_NAME, folder / ENDPOINTS_NAME, *keys.glob("*")):
        if path.is_file() and not path.is_symlink():
            path.chmod(FILE_MODE)


def open_private(path: Path, mode: str) -> IO[str]:
    """Open a text file for writing or appending, readable by its owner only. Raises OSError."""
    file: IO[str] = open(path, mode, encoding="utf-8", opener=_private)  # noqa: SIM115 - the caller closes it
    os.fchmod(file.fileno(), FILE_MODE)
    return file


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, FILE_MODE)
