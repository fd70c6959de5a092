"""Control groups and mounts of a container.

All files are located by the host pid of the container's init process. This needs no engine call and works
with both control group versions and mixed hierarchies. Blocking; call from a thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

TEXT_MOST = 1 << 20
"""Maximum bytes read of a kernel file whose length an app can influence."""

MOUNTS_MOST = 16 << 20
"""Maximum bytes read of a mount list; the host's list grows with the number of containers."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of ``mountinfo``: mounted part of the file system, mount point, type and options."""

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
    """Parse ``/proc/<pid>/cgroup``: path by controller; the unified hierarchy has the empty name."""
    paths = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def directory(controller: str, paths: Mapping[str, str], hierarchies: list[Mount]) -> Path | None:
    """Directory of a controller's files for a process; None if it is not mounted.

    A mount may show only a part of the hierarchy; that part's path is cut from the process's path.
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


def oom_counter(paths: Mapping[str, str], hierarchies: list[Mount]) -> Path | None:
    """The file that counts OOM kills of a group as ``oom_kill``.

    On a host with both versions the memory controller of version 1 is in use. None if neither is mounted.
    """
    if (version1 := directory("memory", paths, hierarchies)) is not None:
        return version1 / "memory.oom_control"
    unified = directory("", paths, hierarchies)
    return unified / "memory.events" if unified is not None else None


def oom_kills(counter_text: str) -> int:
    """The OOM kills in such a file; 0 if the kernel does not count them."""
    return flat(counter_text).get("oom_kill", 0)


def flat(text: str) -> dict[str, int]:
    """Parse a file of ``key number`` lines."""
    return {key: int(number) for key, number in (line.split() for line in text.splitlines())}


def read_text(path: Path, most: int = TEXT_MOST) -> str:
    """Read whole lines from the beginning of a file about an app; invalid bytes are replaced."""
    with path.open("rb") as file:
        data = file.read(most)
    if len(data) == most:
        data = data[: data.rfind(b"\n") + 1]
    return data.decode("utf-8", "replace")


def own_mounts() -> list[Mount]:
    """The mounts visible to the agent."""
    return mounts_of("self")


def mounts_of(pid: str) -> list[Mount]:
    """The mounts visible to a process. Raises OSError if it is gone."""
    return mounts(read_text(PROC / pid / "mountinfo", MOUNTS_MOST))


def open_process(pid: int, container_id: str) -> tuple[int, str]:
    """Open the ``/proc`` directory of a container's process; returns the descriptor and the ``cgroup`` file.

    The descriptor refers to this process even if its pid is reused. Raises OSError, and ProcessLookupError if
    the process does not belong to the container.
    """
    process = os.open(PROC / str(pid), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(os.open("cgroup", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process), encoding="ascii") as lines:
            membership = lines.read()
        if container_id not in membership:
            raise ProcessLookupError(f"process {pid} does not belong to container {container_id} any more")
    except BaseException:
        os.close(process)
        raise
    return process, membership


def membership_of(pid: int, container_id: str) -> str:
    """Read the control groups of a process; they reveal a reused pid."""
    membership = read_text(PROC / str(pid) / "cgroup")
    if container_id not in membership:
        raise ProcessLookupError(f"process {pid} does not belong to container {container_id} any more")
    return membership


def unified_directory(paths: Mapping[str, str], hierarchies: list[Mount]) -> Path:
    """The directory of the unified hierarchy. Raises FileNotFoundError if no hierarchy is mounted."""
    unified = directory("", paths, hierarchies)
    if unified is None:
        raise FileNotFoundError(f"no control group file system shows {dict(paths)}")
    return unified


def _unescape(text: str) -> str:
    """Decode the octal escapes of the kernel in paths."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
