"""Formulas of the container metrics, computed from two readings.

Pure; ``executor.watch.counters`` takes the readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from executor.model import ContainerMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Kernel counters of a container. Sizes in bytes; cpu_ns is cumulative."""

    memory_usage: int
    disk_usage: int
    cpu_ns: int
    rx_bytes: int | None = None
    tx_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLimits:
    """Resources of a container. Limits in bytes; CPU shares as configured in the engine."""

    memory_limit: int
    disk_limit: int
    cpu_shares: int


def memory_usage_v1(stat: Mapping[str, int]) -> int:
    """Memory in bytes from ``memory.stat`` of a version 1 hierarchy, without easily reclaimable cache."""
    used = stat.get("total_rss", 0) + stat.get("total_cache", 0) + stat.get("total_swap", 0)
    return max(0, used - stat.get("total_inactive_file", 0))


def memory_usage_v2(stat: Mapping[str, int]) -> int:
    """Memory in bytes from ``memory.stat`` of the unified hierarchy, without easily reclaimable cache."""
    used = stat.get("file", 0) + stat.get("anon", 0) + stat.get("swapcached", 0)
    return max(0, used - stat.get("inactive_file", 0))


def entitlement_per_share(cores: int, total_memory_mb: int) -> float:
    """Value of one CPU share on this machine, in percent of a core."""
    return cores * 100 / total_memory_mb


def sample(
    reading: Reading,
    allotment: ContainerLimits,
    *,
    age_ns: int,
    per_share: float,
    previous: ContainerMetrics | None,
) -> ContainerMetrics:
    """The metrics of a container.

    The CPU percentage covers the time since ``previous``; without it, it is 0.
    """
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
    """CPU use since the previous reading; 100 is one core. 0 without previous reading or elapsed time."""
    if previous is None or age_ns <= previous.age_ns:
        return 0.0
    return (cpu_ns - previous.cpu_time_ns) * 100 / (age_ns - previous.age_ns)
