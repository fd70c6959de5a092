"""Removing a tree that a build made, whatever modes and depth it has."""

from __future__ import annotations

import itertools
import os
import stat
from contextlib import suppress
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file or a tree, also directories that were made unreadable or unwritable.

    Depth costs neither stack nor path length: a directory of a deeper level moves to the top of the tree
    before it is emptied. Files of other users stay.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    names = (path / f".removed.{os.getpid()}.{number}" for number in itertools.count())
    waiting = _empty(path)
    while waiting:
        folder = waiting.pop()
        for inner in _empty(folder):
            moved = next(names)
            with suppress(OSError):
                inner.rename(moved)
                waiting.append(moved)
        with suppress(OSError):
            folder.rmdir()
    with suppress(OSError):
        path.rmdir()


def _empty(folder: Path) -> list[Path]:
    """Remove the files of a directory; the directories in it, which can be moved and read from now on."""
    inner = []
    with suppress(OSError):
        folder.chmod(stat.S_IRWXU)
        with os.scandir(folder) as entries:
            for entry in list(entries):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        os.chmod(entry.path, stat.S_IRWXU)
                        inner.append(Path(entry.path))
                    else:
                        os.unlink(entry.path)
    return inner
