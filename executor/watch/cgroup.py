"""Kernel counters of a container: control group files, interface counters, open files.

All files are located by the host pid of the container's init process. This needs no engine call and works
with both control group versions and mixed hierarchies. Blocking; call from a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from executor.watch.samples import Reading, memory_usage_v1, memory_usage_v2

PROC = Path("/proc")

TEXT_MOST = 1 << 20
"""Maximum bytes read of a kernel file whose length an app can influence."""

MOUNTS_MOST = 16 << 20
"""Maximum bytes read of a mount list; the host's list grows with the number of containers."""

PROCESSES_MOST = 256
"""Maximum number of a container's processes checked for full tables of open files; each costs three reads."""

FULL_TABLES_MOST = 4
"""Maximum number of processes with a full table reported at once."""

COUNTED_TABLE_MOST = 65_536
"""Largest table of open files whose entries are counted individually if the kernel reports no count."""


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


def _text(path: Path, most: int = TEXT_MOST) -> str:
    """Read whole lines from the beginning of a file about an app; invalid bytes are replaced."""
    with path.open("rb") as file:
        data = file.read(most)
    if len(data) == most:
        data = data[: data.rfind(b"\n") + 1]
    return data.decode("utf-8", "replace")


def network_counters(text: str) -> tuple[int, int]:
    """Received and sent bytes of all interfaces except loopback, from ``/proc/<pid>/net/dev``."""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            fields = numbers.split()
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def read(pid: int, container_id: str, disk_usage: int) -> Reading:
    """Read the counters of the container with init process ``pid``. Raises OSError if it is gone."""
    paths = group_paths(_membership(pid, container_id))
    hierarchies = own_mounts()
    rx_bytes, tx_bytes = network_counters(_text(PROC / str(pid) / "net" / "dev"))
    return Reading(
        memory_usage=_memory(paths, hierarchies),
        disk_usage=disk_usage,
        cpu_ns=_cpu(paths, hierarchies),
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """How often a container reached its limits so far, and which of its processes are at a limit now.

    All counters start at the creation of the container. killed_for_memory: OOM kills. refused_processes:
    failed forks. cpu_periods: periods with an enforced hard CPU limit. throttled_periods: periods in which
    the limit throttled the container. full_tables: processes that cannot open another file.
    """

    killed_for_memory: int = 0
    refused_processes: int = 0
    cpu_periods: int = 0
    throttled_periods: int = 0
    full_tables: tuple[FullTable, ...] = ()


@dataclass(frozen=True, slots=True)
class FullTable:
    """A process that has reached its limit of open files. pid: on the host."""

    pid: int
    name: str
    limit: int


def read_strain(pid: int, container_id: str, hierarchies: list[Mount]) -> Strain:
    """Read the strain of the container with init process ``pid``. Raises OSError if it is gone.

    hierarchies: the mounted control groups, see :func:`own_mounts`.
    """
    paths = group_paths(_membership(pid, container_id))
    cpu = _throttling(paths, hierarchies)
    return Strain(
        killed_for_memory=_memory_kills(paths, hierarchies),
        refused_processes=_refused_processes(paths, hierarchies),
        cpu_periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        full_tables=tuple(islice(_full_tables(paths, hierarchies), FULL_TABLES_MOST)),
    )


def own_mounts() -> list[Mount]:
    """The mounts visible to the agent."""
    return mounts_of("self")


def mounts_of(pid: str) -> list[Mount]:
    """The mounts visible to a process. Raises OSError if it is gone."""
    return mounts(_text(PROC / pid / "mountinfo", MOUNTS_MOST))


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


def _membership(pid: int, container_id: str) -> str:
    """Read the control groups of a process; they reveal a reused pid."""
    membership = _text(PROC / str(pid) / "cgroup")
    if container_id not in membership:
        raise ProcessLookupError(f"process {pid} does not belong to container {container_id} any more")
    return membership


def _memory_kills(paths: Mapping[str, str], hierarchies: list[Mount]) -> int:
    counter = oom_counter(paths, hierarchies)
    if counter is None:
        raise FileNotFoundError(f"no control group file system shows {dict(paths)}")
    return oom_kills(counter.read_text())


def _throttling(paths: Mapping[str, str], hierarchies: list[Mount]) -> Mapping[str, int]:
    try:
        folder = directory("cpu", paths, hierarchies) or _unified(paths, hierarchies)
        return flat((folder / "cpu.stat").read_text())
    except FileNotFoundError:  # the controller is not in use
        return {}


def _refused_processes(paths: Mapping[str, str], hierarchies: list[Mount]) -> int:
    folder = directory("pids", paths, hierarchies) or _unified(paths, hierarchies)
    try:
        return flat((folder / "pids.events").read_text()).get("max", 0)
    except FileNotFoundError:  # the controller is not in use
        return 0


def _full_tables(paths: Mapping[str, str], hierarchies: list[Mount]) -> Iterator[FullTable]:
    folder = directory("pids", paths, hierarchies) or _unified(paths, hierarchies)
    for pid in _text(folder / "cgroup.procs").split()[:PROCESSES_MOST]:
        try:
            limit = _soft_limit(_text(PROC / pid / "limits"))
            if limit is not None and _has_open(PROC / pid / "fd", limit):
                yield FullTable(int(pid), _text(PROC / pid / "comm").strip(), limit)
        except (FileNotFoundError, ProcessLookupError):  # the process has ended
            continue


def _soft_limit(limits: str) -> int | None:
    """The soft limit of open files in ``/proc/<pid>/limits``; None for unlimited."""
    for line in limits.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdecimal() else None
    return None


def _has_open(folder: Path, count: int) -> bool:
    """Whether the table has at least ``count`` entries.

    Kernels from 6.2 on report the number as directory size.
    """
    if known := folder.stat().st_size:
        return known >= count
    if count > COUNTED_TABLE_MOST:
        return False
    with os.scandir(folder) as entries:
        return len([*islice(entries, count)]) >= count


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


def _unescape(text: str) -> str:
    """Decode the octal escapes of the kernel in paths."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
