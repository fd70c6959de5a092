"""Removal of a build's tree, whatever its modes and depth."""

from __future__ import annotations

import itertools
import os
import stat
from contextlib import suppress
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file or a tree, including unreadable and unwritable directories.

    Deep trees use neither stack nor long paths: each deeper directory is moved to the top of the tree before
    it is emptied. Files of other users are left in place.
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
    """Remove the files of a directory. Returns its subdirectories, which are now movable and readable."""
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
