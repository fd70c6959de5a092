"""Sizes of all files below a directory that an app fills while they are counted.

The walk goes by directory descriptors, one level at a time, so that no depth and no length of a path hides
anything. It follows no links, holds two descriptors, keeps one list of names per level, and ends early when
its caller has seen enough. It leaves no time of access, by which the app would see where the walk is, and
could move what it has in excess to where the walk has been. Blocking.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

DEPTH_MOST = 4096
"""Levels that are entered. A path that a program can use at once has at most half as many: it has at most
4,096 bytes."""

DETOURS_MOST = 1000
"""How often the walk goes down again from its top, because a directory it is in was moved."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})


class Uncountable(Exception):
    """Directories are nested deeper than DEPTH_MOST, or moved more than DETOURS_MOST times meanwhile."""


@dataclass(slots=True)
class _Level:
    """A directory on the way down: its name in the one above, its identity, what is still to be entered."""

    name: str
    identity: tuple[int, int]
    left: list[str]


def sizes_below(root: Path) -> Generator[int]:
    """Bytes on disk of the directory and of each file and directory below it.

    A file with several names counts once. What vanishes meanwhile, or moves, may be left out. Raises
    Uncountable, OSError.
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
                if detours > DETOURS_MOST:
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
    """The sizes of what is in a directory, which becomes the lowest level."""
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
    """A descriptor of the lowest level, and whether it was right above. Levels that moved are dropped."""
    if not levels:
        return os.dup(top), True
    above = os.open("..", _DIRECTORY, dir_fd=here)
    if _identity(above) == levels[-1].identity:
        return above, True
    os.close(above)
    return _again(top, levels), False


def _again(top: int, levels: list[_Level]) -> int:
    """Go down from the top by name, as far as the levels are what they were."""
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
