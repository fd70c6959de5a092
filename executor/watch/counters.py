"""Kernel counters of a container: control groups, interfaces, open files.

Blocking; call from a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from executor import cgroup
from executor.cgroup import (
    Mount,
    directory,
    flat,
    group_paths,
    membership_of,
    oom_counter,
    oom_kills,
    own_mounts,
    read_text,
    unified_directory,
)
from executor.watch.samples import Reading, memory_usage_v1, memory_usage_v2

PROCESSES_MOST = 256
"""Maximum number of a container's processes checked for full tables of open files; each costs three reads."""

FULL_TABLES_MOST = 4
"""Maximum number of processes with a full table reported at once."""

COUNTED_TABLE_MOST = 65_536
"""Largest table of open files whose entries are counted individually if the kernel reports no count."""


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
    paths = group_paths(membership_of(pid, container_id))
    hierarchies = own_mounts()
    rx_bytes, tx_bytes = network_counters(read_text(cgroup.PROC / str(pid) / "net" / "dev"))
    return Reading(
        memory_usage=_memory(paths, hierarchies),
        disk_usage=disk_usage,
        cpu_ns=_cpu(paths, hierarchies),
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCounters:
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


def read_limit_counters(pid: int, container_id: str, hierarchies: list[Mount]) -> LimitCounters:
    """Read the limit counters of the container with init process ``pid``. Raises OSError if it is gone.

    hierarchies: the mounted control groups, see :func:`own_mounts`.
    """
    paths = group_paths(membership_of(pid, container_id))
    cpu = _throttling(paths, hierarchies)
    return LimitCounters(
        killed_for_memory=_memory_kills(paths, hierarchies),
        refused_processes=_refused_processes(paths, hierarchies),
        cpu_periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        full_tables=tuple(islice(_full_tables(paths, hierarchies), FULL_TABLES_MOST)),
    )


def _memory_kills(paths: Mapping[str, str], hierarchies: list[Mount]) -> int:
    counter = oom_counter(paths, hierarchies)
    if counter is None:
        raise FileNotFoundError(f"no control group file system shows {dict(paths)}")
    return oom_kills(counter.read_text())


def _throttling(paths: Mapping[str, str], hierarchies: list[Mount]) -> Mapping[str, int]:
    try:
        folder = directory("cpu", paths, hierarchies) or unified_directory(paths, hierarchies)
        return flat((folder / "cpu.stat").read_text())
    except FileNotFoundError:  # the controller is not in use
        return {}


def _refused_processes(paths: Mapping[str, str], hierarchies: list[Mount]) -> int:
    folder = directory("pids", paths, hierarchies) or unified_directory(paths, hierarchies)
    try:
        return flat((folder / "pids.events").read_text()).get("max", 0)
    except FileNotFoundError:  # the controller is not in use
        return 0


def _full_tables(paths: Mapping[str, str], hierarchies: list[Mount]) -> Iterator[FullTable]:
    folder = directory("pids", paths, hierarchies) or unified_directory(paths, hierarchies)
    for pid in read_text(folder / "cgroup.procs").split()[:PROCESSES_MOST]:
        try:
            limit = _soft_limit(read_text(cgroup.PROC / pid / "limits"))
            if limit is not None and _has_open(cgroup.PROC / pid / "fd", limit):
                yield FullTable(int(pid), read_text(cgroup.PROC / pid / "comm").strip(), limit)
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
    return memory_usage_v2(flat((unified_directory(paths, hierarchies) / "memory.stat").read_text()))


def _cpu(paths: Mapping[str, str], hierarchies: list[Mount]) -> int:
    if (version1 := directory("cpuacct", paths, hierarchies)) is not None:
        return int((version1 / "cpuacct.usage").read_text())
    return flat((unified_directory(paths, hierarchies) / "cpu.stat").read_text())["usage_usec"] * 1000
