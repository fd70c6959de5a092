"""Container metrics: formulas over two readings, and what each value means.

Pure; ``executor.watch.cgroup`` takes the readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from executor.model import ContainerMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the kernel says about a container. Sizes in bytes, cpu_ns cumulative."""

    memory_usage: int
    disk_usage: int
    cpu_ns: int
    rx_bytes: int | None = None
    tx_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What the container was given. Limits in bytes; shares as the engine was told."""

    memory_limit: int
    disk_limit: int
    cpu_shares: int


def memory_usage_v1(stat: Mapping[str, int]) -> int:
    """Bytes in use by ``memory.stat`` of a version 1 hierarchy, without cache that costs nothing to drop."""
    used = stat.get("total_rss", 0) + stat.get("total_cache", 0) + stat.get("total_swap", 0)
    return max(0, used - stat.get("total_inactive_file", 0))


def memory_usage_v2(stat: Mapping[str, int]) -> int:
    """The same by ``memory.stat`` of the unified hierarchy."""
    used = stat.get("file", 0) + stat.get("anon", 0) + stat.get("swapcached", 0)
    return max(0, used - stat.get("inactive_file", 0))


def entitlement_per_share(cores: int, total_memory_mb: int) -> float:
    """Percent of a core a CPU share is worth on this machine."""
    return cores * 100 / total_memory_mb


def sample(
    reading: Reading,
    allotment: Allotment,
    *,
    age_ns: int,
    per_share: float,
    previous: ContainerMetrics | None,
) -> ContainerMetrics:
    """The metrics of a container; CPU percentage is over the time since ``previous``, at first 0."""
    return ContainerMetrics(
        memory_usage=reading.memory_usage,
        memory_limit=allotment.memory_limit,
        disk_usage=reading.disk_usage,
        disk_limit=allotment.disk_limit,
        cpu_time_ns=reading.cpu_ns,
        age_ns=age_ns,
        cpu_entitlement_ns=int(allotment.cpu_shares * (per_share / 100) * age_ns),
        cpu_percentage=cpu_percentage(reading.cpu_ns, age_ns, previous),
        rx_bytes=reading.rx_bytes,
        tx_bytes=reading.tx_bytes,
    )


def cpu_percentage(cpu_ns: int, age_ns: int, previous: ContainerMetrics | None) -> float:
    """100 is one full core since the previous reading; 0 without one, or without time in between."""
    if previous is None or age_ns <= previous.age_ns:
        return 0.0
    return (cpu_ns - previous.cpu_time_ns) * 100 / (age_ns - previous.age_ns)
