"""Sizes of all files below a directory that an app may modify during the walk.

The walk uses directory descriptors and goes one level at a time, so it handles any depth and path length. It
follows no links, holds two descriptors, keeps one list of names per level, and ends when its caller stops it.
It does not update access times: an app could use them to see the progress of the walk, and move files to
directories that were already counted. Blocking.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

DEPTH_MOST = 4096
"""Maximum depth of the walk.

A path that a program can use directly has at most half as many levels, because it is limited to 4,096 bytes.
"""

RESTARTS_MOST = 1000
"""Maximum number of restarts from the top after a directory of the current path was moved."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})


class Uncountable(Exception):
    """Directories are nested deeper than DEPTH_MOST, or were moved more than RESTARTS_MOST times during the
    walk."""


@dataclass(slots=True)
class _Level:
    """A directory on the current path: its name in the parent, its identity, its unvisited subdirectories."""

    name: str
    identity: tuple[int, int]
    left: list[str]


def sizes_below(root: Path) -> Generator[int]:
    """Yield the bytes on disk of the directory and of each file and directory below it.

    A file with several names counts once. Files that are deleted or moved during the walk may be missed.
    Raises Uncountable, OSError.
    """
    top = os.open(root, _DIRECTORY)
    try:
        yield os.fstat(top).st_blocks * 512
        yield from _walk(top)
    finally:
        os.close(top)


def _walk(top: int) -> Iterator[int]:
    linked: set[tuple[int, int]] = set()
    levels: list[_Level] = []
    detours = 0
    here = os.dup(top)
    try:
        yield from _enter(here, "", levels, linked)
        while levels:
            level = levels[-1]
            if not level.left:
                levels.pop()
                above, on_the_way = _above(top, here, levels)
                os.close(here)
                here = above
                detours += not on_the_way
                if detours > RESTARTS_MOST:
                    raise Uncountable("directories are moved all the time while their files are counted")
                continue
            name = level.left.pop()
            below = _open_if_there(name, here)
            if below is None:
                continue
            os.close(here)
            here = below
            if len(levels) >= DEPTH_MOST:
                raise Uncountable(f"directories are nested more than {DEPTH_MOST} deep")
            yield from _enter(here, name, levels, linked)
    finally:
        os.close(here)


def _enter(here: int, name: str, levels: list[_Level], linked: set[tuple[int, int]]) -> Iterator[int]:
    """Yield the sizes of the entries of a directory and push it as the lowest level."""
    status = os.fstat(here)
    level = _Level(name, (status.st_dev, status.st_ino), [])
    levels.append(level)
    with os.scandir(here) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if entry.is_dir(follow_symlinks=False):
                level.left.append(entry.name)
            elif found.st_nlink > 1:
                identity = (found.st_dev, found.st_ino)
                if identity in linked:
                    continue
                linked.add(identity)
            yield found.st_blocks * 512


def _above(top: int, here: int, levels: list[_Level]) -> tuple[int, bool]:
    """A descriptor of the lowest level, and whether it is the parent of ``here``.

    Moved levels are dropped.
    """
    if not levels:
        return os.dup(top), True
    above = os.open("..", _DIRECTORY, dir_fd=here)
    if _identity(above) == levels[-1].identity:
        return above, True
    os.close(above)
    return _again(top, levels), False


def _again(top: int, levels: list[_Level]) -> int:
    """Walk down from the top by name, as far as the levels are unchanged."""
    here = os.dup(top)
    try:
        for number, level in enumerate(levels[1:], 1):
            below = _open_if_there(level.name, here)
            if below is None or _identity(below) != level.identity:
                if below is not None:
                    os.close(below)
                del levels[number:]
                break
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _open_if_there(name: str, above: int) -> int | None:
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
