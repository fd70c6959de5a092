"""Metrics readings: reads all containers once per tick and keeps the latest values."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from executor.capacity import cpu_shares
from executor.clock import Clock
from executor.config import ExecutorConfig
from executor.containment import Containment, is_shortage
from executor.engine.api import EngineContainer
from executor.model import Container, ContainerMetrics
from executor.pools import READINGS
from executor.watch import counters
from executor.watch.diskusage import DiskUsage
from executor.watch.samples import ContainerLimits, entitlement_per_share, sample
from executor.watch.treesize import Uncountable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A container to read. created_at_ns: ns since the epoch, when the engine had created it."""

    container: Container
    engine_container: EngineContainer
    created_at_ns: int


class MetricsKeeper:
    """Keeps the readings of the last tick.

    cores, total_memory_mb: of the machine, for the CPU entitlement.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        clock: Clock,
        disk: DiskUsage,
        *,
        cores: int,
        total_memory_mb: int,
        containment: Containment | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._per_share = entitlement_per_share(cores, total_memory_mb)
        self._slots = asyncio.Semaphore(config.metrics_work_pool_size)
        self._disk = disk
        self._containment = containment or Containment()
        self._latest: Mapping[str, ContainerMetrics] = {}

    @property
    def latest(self) -> Mapping[str, ContainerMetrics]:
        """Metrics by guid; a container without a reading is absent."""
        return self._latest

    async def tick(self, watched: Sequence[Watched]) -> None:
        """Read all given containers; those that are gone or cannot be read are skipped."""
        async with asyncio.TaskGroup() as group:
            tasks = {one.container.guid: group.create_task(self._read(one)) for one in watched}
        readings = {guid: task.result() for guid, task in tasks.items()}
        self._latest = {guid: metrics for guid, metrics in readings.items() if metrics is not None}
        self._disk.retain(tasks.keys())

    async def _read(self, watched: Watched) -> ContainerMetrics | None:
        reading = None
        async with self._slots:
            with self._containment.of(watched.container.guid, "read metrics"):
                reading = await self._sample(watched)
        return reading

    async def _sample(self, watched: Watched) -> ContainerMetrics | None:
        container, made = watched.container, watched.engine_container
        try:
            written = await self._disk.of(container.guid, made.init_pid)
            disk = written.size + made.image_bytes
            reading = await READINGS.run(counters.read, made.init_pid, made.id, disk)
        except (OSError, Uncountable) as error:
            if is_shortage(error):
                raise
            data = {"guid": container.guid, "error": str(error)}
            log.info("no-reading-of-container", extra={"data": data})
            return None
        allotment = ContainerLimits(
            memory_limit=container.memory_limit,
            disk_limit=container.disk_limit,
            cpu_shares=cpu_shares(self._config, container),
        )
        return sample(
            reading,
            allotment,
            age_ns=self._clock.time_ns() - watched.created_at_ns,
            per_share=self._per_share,
            previous=self._latest.get(container.guid),
        )
