"""The disk usage of the cell's containers, read as often as is needed and cheap.

Counting a writable layer means looking at every file in it: a tenth of a second for an app of ten thousand
files. So a reading is kept, the longer the more it cost. It is taken earlier when the file system as a whole
has grown by so much that a container could be near its limit: that is one system call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from executor.logs.clock import Clock
from executor.watch import layerusage
from executor.watch.layerusage import LayerUsage

CALM_FACTOR = 2000
"""A reading is kept this many times as long as it took: half a millisecond in a second."""

GROWING_FACTOR = 50
"""The same while the file system grows: two percent of a core."""

DOUBT_MOST_S = 10.0
"""The longest time that a reading is kept while the file system grows, however much it cost: a container full
of files is not beyond its limit for longer."""

WALKS_MOST = 2
"""Layers that are counted at a time, in threads of their own: full disks keep nothing else waiting."""

SUSPICIOUS = 0.5
"""Growth of the file system that casts doubt on a reading: that part of what is left to the container."""


@dataclass(frozen=True, slots=True)
class _Reading:
    usage: LayerUsage
    limits: LayerUsage
    read_at: float
    cost_s: float
    upper: Path | None
    storage: LayerUsage


class DiskUsage:
    """Readings by guid. min_age_s: a younger one is never taken again."""

    def __init__(self, clock: Clock, *, min_age_s: float) -> None:
        self._clock = clock
        self._min_age_s = min_age_s
        self._readings: dict[str, _Reading] = {}
        self._walks = ThreadPoolExecutor(WALKS_MOST, thread_name_prefix="walk")

    def close(self) -> None:
        """End the threads; what they count now is not waited for."""
        self._walks.shutdown(wait=False, cancel_futures=True)

    async def of(self, guid: str, pid: int, limits: LayerUsage | None = None) -> LayerUsage:
        """The usage of the container whose init process is ``pid``.

        limits: what it may use; zeros for no limit. Without them, those of the last call count. Raises
        Uncountable, OSError when it is gone.
        """
        known = self._readings.get(guid)
        limits = limits or (known.limits if known is not None else LayerUsage())
        if known is None or self._is_stale(known, limits):
            loop = asyncio.get_running_loop()
            known = await loop.run_in_executor(self._walks, self._read, pid, limits)
            self._readings[guid] = known
        return known.usage

    def _is_stale(self, known: _Reading, limits: LayerUsage) -> bool:
        age = self._clock.monotonic() - known.read_at
        if age < max(self._min_age_s, min(known.cost_s * GROWING_FACTOR, DOUBT_MOST_S)):
            return False
        return age >= known.cost_s * CALM_FACTOR or (
            known.upper is not None and _in_doubt(known, limits, layerusage.held_by_storage(known.upper))
        )

    def _read(self, pid: int, limits: LayerUsage) -> _Reading:
        begun = self._clock.monotonic()
        upper = layerusage.upper_directory(pid)
        if upper is None:
            return _Reading(layerusage.without_layer(pid), limits, begun, 0.0, None, LayerUsage())
        storage = layerusage.held_by_storage(upper)
        usage = layerusage.below(upper, limits)
        return _Reading(usage, limits, begun, self._clock.monotonic() - begun, upper, storage)

    def retain(self, guids: Set[str]) -> None:
        """Forget all others."""
        self._readings = {guid: reading for guid, reading in self._readings.items() if guid in guids}


def _in_doubt(known: _Reading, limits: LayerUsage, storage: LayerUsage) -> bool:
    """Whether the storage grew by a suspicious part of what was left to the container. Pure."""
    measures = (
        (storage.size - known.storage.size, limits.size, known.usage.size),
        (storage.inodes - known.storage.inodes, limits.inodes, known.usage.inodes),
    )
    return any(limit and grown > (limit - used) * SUSPICIOUS for grown, limit, used in measures)
