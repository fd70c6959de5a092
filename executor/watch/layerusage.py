"""Size and file count of a container's writable layer, counted on the host.

Blocking; call from a thread.
"""

from __future__ import annotations

import math
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from executor import cgroup
from executor.cgroup import Mount
from executor.watch import btrfs
from executor.watch.treesize import sizes_below

ENTRIES_MOST = 2_000_000
"""Maximum number of files and directories counted without an inode limit: about ten seconds of work."""


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """Bytes on disk and number of files and directories; of a layer, or of a whole file system."""

    size: int = 0
    inodes: int = 0


def upper_directory(pid: int) -> Path | None:
    """The upper directory of the overlay of the container with init process ``pid``.

    None for other types of root file systems. Raises OSError if the container is gone.
    """
    root = _root(pid)
    if root is None or root.kind != "overlay":
        return None
    options = dict(option.partition("=")[::2] for option in root.options.split(","))
    return Path(options["upperdir"])


def without_layer(pid: int) -> LayerUsage:
    """Usage of a container without overlay: the exclusive bytes on btrfs, otherwise zeros.

    Raises OSError if the container is gone.
    """
    root = _root(pid)
    if root is None or root.kind != "btrfs":
        return LayerUsage()
    return LayerUsage(size=btrfs.exclusive_bytes(str(cgroup.PROC / str(pid) / "root")))


def _root(pid: int) -> Mount | None:
    found = [m for m in cgroup.mounts_of(str(pid)) if m.point == "/"]
    return found[-1] if found else None


def below(upper: Path, limits: LayerUsage | None = None) -> LayerUsage:
    """Usage of a directory. Counting stops once a limit is exceeded; a zero limit means none.

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
    """Usage of the file system that contains the directory. Raises OSError."""
    storage = os.statvfs(upper)
    return LayerUsage(
        (storage.f_blocks - storage.f_bfree) * storage.f_frsize, storage.f_files - storage.f_ffree
    )
