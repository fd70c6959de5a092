"""Whether the kernel killed a process of a container for memory: the counter of its memory cgroup."""

from __future__ import annotations

from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def oom_counter(proc_cgroup: str, cgroup_root: Path = CGROUP_ROOT) -> Path | None:
    """The file with the ``oom_kill`` counter, given the text of ``/proc/<pid>/cgroup``.

    Version 1: ``memory.oom_control`` of the memory controller; version 2: ``memory.events``. On a host with
    both, the version 1 memory controller is the one in use.
    """
    unified: Path | None = None
    for line in proc_cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return cgroup_root / "memory" / path.lstrip("/") / "memory.oom_control"
        if not controllers:
            unified = cgroup_root / path.lstrip("/") / "memory.events"
    return unified


def oom_kills(counter_text: str) -> int:
    """The ``oom_kill`` value of such a file; 0 where the kernel does not count."""
    for line in counter_text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0
