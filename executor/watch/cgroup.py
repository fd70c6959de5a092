"""What the kernel counts for a container: control group files, interface counters, open files.

Everything is found from the host pid of the container's init process, so no call to the engine is needed
and both control group versions, and mixed hierarchies, are served. Blocking; call from a thread.
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
"""Bytes that are read of a file of the kernel whose length an app can influence."""

MOUNTS_MOST = 16 << 20
"""Bytes that are read of a list of mounts: that of the host grows with its containers."""

PROCESSES_MOST = 256
"""Processes of a container that are looked at for full tables of open files; each costs three reads."""

FULL_TABLES_MOST = 4
"""Processes with a full table that are named at a time."""

COUNTED_TABLE_MOST = 65_536
"""The longest table of open files whose entries are counted one by one, where the kernel does not count."""


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


def oom_counter(paths: Mapping[str, str], hierarchies: list[Mount]) -> Path | None:
    """The file that counts, as ``oom_kill``, processes of a group that the kernel killed for memory.

    On a host with both versions, the memory controller of version 1 is the one in use. None where neither
    is mounted.
    """
    if (version1 := directory("memory", paths, hierarchies)) is not None:
        return version1 / "memory.oom_control"
    unified = directory("", paths, hierarchies)
    return unified / "memory.events" if unified is not None else None


def oom_kills(counter_text: str) -> int:
    """What such a file says; 0 where the kernel does not count."""
    return flat(counter_text).get("oom_kill", 0)


def flat(text: str) -> dict[str, int]:
    """Parse a file of ``key number`` lines."""
    return {key: int(number) for key, number in (line.split() for line in text.splitlines())}


def _text(path: Path, most: int = TEXT_MOST) -> str:
    """The beginning of a file that says something about an app, of whole lines; whatever its bytes are."""
    with path.open("rb") as file:
        data = file.read(most)
    if len(data) == most:
        data = data[: data.rfind(b"\n") + 1]
    return data.decode("utf-8", "replace")


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
    """Readings of the container whose init process is ``pid``. Raises OSError when it is gone."""
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
    """How often a container ran into its limits so far, and which of its processes are at one now.

    killed_for_memory, refused_processes: since the container was made; as are cpu_periods, in which a hard
    CPU limit was kept, and throttled_periods, in which it ended work early. full_tables: processes that may
    not open another file.
    """

    killed_for_memory: int = 0
    refused_processes: int = 0
    cpu_periods: int = 0
    throttled_periods: int = 0
    full_tables: tuple[FullTable, ...] = ()


@dataclass(frozen=True, slots=True)
class FullTable:
    """A process with as many open files as it may have. pid: the host's."""

    pid: int
    name: str
    limit: int


def read_strain(pid: int, container_id: str, hierarchies: list[Mount]) -> Strain:
    """Strain of the container whose init process is ``pid``. Raises OSError when it is gone.

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
    """What is mounted where the agent runs."""
    return mounts_of("self")


def mounts_of(pid: str) -> list[Mount]:
    """What is mounted where a process runs. Raises OSError when it is gone."""
    return mounts(_text(PROC / pid / "mountinfo", MOUNTS_MOST))


def open_process(pid: int, container_id: str) -> tuple[int, str]:
    """A descriptor of the ``/proc`` directory of a process of the container, and its ``cgroup`` file.

    The directory shows this process and never another one that gets its number. Raises OSError, and
    ProcessLookupError if the process is none of the container.
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
    """A process id may have been given to another process meanwhile; its control group tells."""
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
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue


def _soft_limit(limits: str) -> int | None:
    """Of open files, by ``/proc/<pid>/limits``; None for unlimited."""
    for line in limits.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdecimal() else None
    return None


def _has_open(folder: Path, count: int) -> bool:
    """Whether there are that many. Kernels from 6.2 on tell by the size of the directory."""
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
    """The kernel writes blanks in paths as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
