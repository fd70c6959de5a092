"""What a container wrote: bytes and files of its writable layer, counted on the host.

Blocking; call from a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executor import cgroup


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """Bytes on disk, and how many files and directories."""

    size: int = 0
    inodes: int = 0


def writable_layer(pid: int) -> LayerUsage:
    """Usage of the layer of the container whose init process is ``pid``. Raises OSError when it is gone.

    It is the upper directory of the container's overlay; nothing is known of other kinds of roots.
    """
    for mount in cgroup.mounts((cgroup.PROC / str(pid) / "mountinfo").read_text()):
        if mount.point == "/" and mount.kind == "overlay":
            options = dict(option.partition("=")[::2] for option in mount.options.split(","))
            sizes = [*_sizes(Path(options["upperdir"]))]
            return LayerUsage(sum(sizes), len(sizes))
    return LayerUsage()


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
