"""What the kernel counts for a container: control group files, interface counters, its writable layer.

Everything is found from the host pid of the container's init process, so no call to the engine is needed
and both control group versions, and mixed hierarchies, are served. Blocking; call from a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.metrics import Reading, memory_usage_v1, memory_usage_v2

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of ``mountinfo``: the part of the file system that is mounted, where, and how."""

    root: str
    point: str
    kind: str
    options: str


def mounts(text: str) -> list[Mount]:
    """Parse ``/proc/<pid>/mountinfo``."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        found.append(Mount(_unescape(fields[3]), _unescape(fields[4]), rest[0], rest[2]))
    return found


def group_paths(membership: str) -> dict[str, str]:
    """Parse ``/proc/<pid>/cgroup``: path by controller, the unified hierarchy under the empty name."""
    paths = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def directory(controller: str, paths: Mapping[str, str], hierarchies: list[Mount]) -> Path | None:
    """Where a controller's files of a process are, or None when it is not mounted.

    A mount may show only a part of the hierarchy, whose path then is not part of ours.
    """
    path = paths.get(controller)
    if path is None:
        return None
    for mount in hierarchies:
        unified = controller == "" and mount.kind == "cgroup2"
        if unified or (mount.kind == "cgroup" and controller in mount.options.split(",")):
            below = os.path.relpath(path, mount.root)
            if not below.startswith(".."):
                return Path(mount.point, below)
    return None


def flat(text: str) -> dict[str, int]:
    """Parse a file of ``key number`` lines."""
    return {key: int(number) for key, number in (line.split() for line in text.splitlines())}


def network_counters(text: str) -> tuple[int, int]:
    """Received and sent bytes of all interfaces but the loopback, from ``/proc/<pid>/net/dev``."""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            fields = numbers.split()
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def read(pid: int, container_id: str, disk_usage: int) -> Reading:
    """Readings of the container whose init process is ``pid``. Raises OSError when it is gone.

    A process id may have been given to another process meanwhile; its control group tells.
    """
    membership = (PROC / str(pid) / "cgroup").read_text()
    if container_id not in membership:
        raise ProcessLookupError(f"process {pid} does not belong to container {container_id} any more")
    paths = group_paths(membership)
    hierarchies = mounts((PROC / "self" / "mountinfo").read_text())
    rx_bytes, tx_bytes = network_counters((PROC / str(pid) / "net" / "dev").read_text())
    return Reading(
        memory_usage=_memory(paths, hierarchies),
        disk_usage=disk_usage,
        cpu_ns=_cpu(paths, hierarchies),
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
    )


def writable_layer_bytes(pid: int) -> int:
    """Bytes on disk of what the container wrote, from its overlay's upper directory.

    0 when its root is no overlay. Raises OSError when it is gone.
    """
    for mount in mounts((PROC / str(pid) / "mountinfo").read_text()):
        if mount.point == "/" and mount.kind == "overlay":
            options = dict(option.partition("=")[::2] for option in mount.options.split(","))
            return sum(_blocks(Path(options["upperdir"])))
    return 0


def _memory(paths: Mapping[str, str], hierarchies: list[Mount]) -> int:
    if (version1 := directory("memory", paths, hierarchies)) is not None:
        return memory_usage_v1(flat((version1 / "memory.stat").read_text()))
    return memory_usage_v2(flat((_unified(paths, hierarchies) / "memory.stat").read_text()))


def _cpu(paths: Mapping[str, str], hierarchies: list[Mount]) -> int:
    if (version1 := directory("cpuacct", paths, hierarchies)) is not None:
        return int((version1 / "cpuacct.usage").read_text())
    return flat((_unified(paths, hierarchies) / "cpu.stat").read_text())["usage_usec"] * 1000


def _unified(paths: Mapping[str, str], hierarchies: list[Mount]) -> Path:
    unified = directory("", paths, hierarchies)
    if unified is None:
        raise FileNotFoundError(f"no control group file system shows {dict(paths)}")
    return unified


def _blocks(root: Path) -> Iterator[int]:
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


def _unescape(text: str) -> str:
    """The kernel writes blanks in paths as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
