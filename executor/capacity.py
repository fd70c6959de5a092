"""Capacity of the cell and the CPU share of a container.

The capacity has configured values, or the engine's numbers where none are configured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from executor.config import ExecutorConfig
from executor.engine.api import Engine
from executor.errors import ExecutorError
from executor.model import Container, ContainerMetrics, ContainerState, Resources
from executor.telemetry.api import Gauge

MIB = 1 << 20


async def measure(config: ExecutorConfig, engine: Engine) -> Resources:
    """Total resources of the cell.

    Configured values are not checked against the machine: the operator may overcommit. Raises EngineError,
    and ExecutorError if no disk remains for automatic disk capacity.
    """
    memory_mb = config.memory_mb
    if memory_mb is None:
        memory_mb = await engine.total_memory_bytes() // MIB
    disk_mb = config.disk_mb
    if disk_mb is None:
        disk_mb = automatic_disk_mb(await engine.storage_bytes(), config)
    return Resources(memory_mb=memory_mb, disk_mb=disk_mb, containers=config.max_containers - 1)


def automatic_disk_mb(storage_bytes: int, config: ExecutorConfig) -> int:
    """The engine's storage minus the download cache and the overhead, in MiB. Raises ExecutorError."""
    disk_mb = (storage_bytes - config.max_cache_size_bytes) // MIB - config.auto_disk_capacity_overhead_mb
    if disk_mb <= 0:
        raise ExecutorError(
            f"automatic disk capacity is {disk_mb} MiB: the engine's storage has {storage_bytes} bytes, "
            f"max_cache_size_in_bytes takes {config.max_cache_size_bytes}, "
            f"auto_disk_capacity_overhead_mb {config.auto_disk_capacity_overhead_mb} MiB; "
            "lower these or set disk_mb"
        )
    return disk_mb


def cpu_shares(config: ExecutorConfig, container: Container) -> int:
    """CPU shares by memory if ``set_cpu_weight`` is set, otherwise by the requested weight."""
    if config.set_cpu_weight:
        return container.memory_mb
    return config.container_max_cpu_shares * container.run_info.cpu_weight // 100


def cpu_percent(config: ExecutorConfig, container: Container) -> float:
    """The hard CPU limit in percent of one core; 0 means no limit.

    A missing weight counts as 100, the highest.
    """
    return config.container_max_cpu_percent * (container.run_info.cpu_weight or 100) / 100


def gauges(
    total: Resources,
    remaining: Resources,
    containers: Sequence[Container],
    readings: Mapping[str, ContainerMetrics],
) -> Mapping[str, Gauge]:
    """The capacity gauges, emitted once a minute."""
    starting = {ContainerState.RESERVED, ContainerState.INITIALIZING, ContainerState.CREATED}
    mib = {
        "CapacityTotalMemory": total.memory_mb,
        "CapacityTotalDisk": total.disk_mb,
        "CapacityRemainingMemory": remaining.memory_mb,
        "CapacityRemainingDisk": remaining.disk_mb,
        "CapacityAllocatedMemory": total.memory_mb - remaining.memory_mb,
        "CapacityAllocatedDisk": total.disk_mb - remaining.disk_mb,
        "ContainerUsageMemory": sum(one.memory_usage for one in readings.values()) // MIB,
        "ContainerUsageDisk": sum(one.disk_usage for one in readings.values()) // MIB,
    }
    counts = {
        "CapacityTotalContainers": total.containers,
        "CapacityRemainingContainers": remaining.containers,
        "ContainerCount": len(containers),
        "StartingContainerCount": sum(container.state in starting for container in containers),
    }
    return {name: Gauge(value, "MiB") for name, value in mib.items()} | {
        name: Gauge(value, "Metric") for name, value in counts.items()
    }
