"""What a container wrote: bytes and files of its writable layer, counted on the host.

Blocking; call from a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executor import btrfs, cgroup
from executor.cgroup import Mount


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
    found = [m for m in cgroup.mounts((cgroup.PROC / str(pid) / "mountinfo").read_text()) if m.point == "/"]
    return found[-1] if found else None


def below(upper: Path) -> LayerUsage:
    """What is in a directory."""
    sizes = [*_sizes(upper)]
    return LayerUsage(sum(sizes), len(sizes))


def held_by_storage(upper: Path) -> LayerUsage:
    """What is in the file system that the directory is on. Raises OSError."""
    storage = os.statvfs(upper)
    return LayerUsage(
        (storage.f_blocks - storage.f_bfree) * storage.f_frsize, storage.f_files - storage.f_ffree
    )


def _sizes(root: Path) -> Iterator[int]:
    """Sizes on disk below a directory; a file with several names counts once, what vanishes not at all."""
    seen: set[tuple[int, int]] = set()
    for folder, _, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            try:
                stat = os.lstat(path)
            except FileNotFoundError:
                continue
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                yield stat.st_blocks * 512
