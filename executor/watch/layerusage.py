"""What a container wrote: bytes and files of its writable layer, counted on the host.

Blocking; call from a thread.
"""

from __future__ import annotations

import math
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from executor.watch import btrfs, cgroup
from executor.watch.cgroup import Mount
from executor.watch.treesize import sizes_below

ENTRIES_MOST = 2_000_000
"""Files and directories that are counted where there is no limit of them: some ten seconds of work."""


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """Bytes on disk, and how many files and directories. Of a file system: what all of it holds."""

    size: int = 0
    inodes: int = 0


def upper_directory(pid: int) -> Path | None:
    """Where the container whose init process is ``pid`` writes: the upper directory of its overlay.

    None for other kinds of roots. Raises OSError when the container is gone.
    """
    root = _root(pid)
    if root is None or root.kind != "overlay":
        return None
    options = dict(option.partition("=")[::2] for option in root.options.split(","))
    return Path(options["upperdir"])


def without_layer(pid: int) -> LayerUsage:
    """Usage of a container whose root is no overlay: what btrfs counts as its own, else nothing known.

    Raises OSError when the container is gone.
    """
    root = _root(pid)
    if root is None or root.kind != "btrfs":
        return LayerUsage()
    return LayerUsage(size=btrfs.exclusive_bytes(str(cgroup.PROC / str(pid) / "root")))


def _root(pid: int) -> Mount | None:
    found = [m for m in cgroup.mounts_of(str(pid)) if m.point == "/"]
    return found[-1] if found else None


def below(upper: Path, limits: LayerUsage | None = None) -> LayerUsage:
    """What is in a directory. The count ends as soon as it is over a limit, of which zero is none.

    Raises Uncountable, OSError.
    """
    most = limits or LayerUsage()
    size_most, entries_most = most.size or math.inf, min(most.inodes or ENTRIES_MOST, ENTRIES_MOST)
    size = entries = 0
    with closing(sizes_below(upper)) as sizes:
        for each in sizes:
            size += each
            entries += 1
            if size > size_most or entries > entries_most:
                break
    return LayerUsage(size, entries)


def held_by_storage(upper: Path) -> LayerUsage:
    """What is in the file system that the directory is on. Raises OSError."""
    storage = os.statvfs(upper)
    return LayerUsage(
        (storage.f_blocks - storage.f_bfree) * storage.f_frsize, storage.f_files - storage.f_ffree
    )
