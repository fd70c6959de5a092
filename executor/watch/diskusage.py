"""Cached disk usage of the cell's containers.

A reading walks all files of a writable layer: about 0.1 s for an app of ten thousand files. It is therefore
cached, for longer if it took longer. It is renewed earlier if the whole file system (one system call) has
grown so much that a container could be near its limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from executor.clock import Clock
from executor.watch import layerusage
from executor.watch.layerusage import LayerUsage

LIFETIME_FACTOR = 2000
"""Lifetime of a reading as a multiple of its duration: readings take 0.5 ms per second."""

GROWING_LIFETIME_FACTOR = 50
"""The same while the file system grows: readings take 2 % of a core."""

GROWING_LIFETIME_MOST_S = 10.0
"""Maximum lifetime of a reading while the file system grows, regardless of its duration.

It bounds how long a container full of files can exceed its limit.
"""

WALKS_MOST = 2
"""Maximum number of concurrent walks. They have their own threads, so large layers delay no other work."""

GROWTH_FRACTION = 0.5
"""Growth of the file system that makes a reading doubtful, as a fraction of the container's remaining space.
"""


@dataclass(frozen=True, slots=True)
class _Reading:
    usage: LayerUsage
    limits: LayerUsage
    read_at: float
    cost_s: float
    upper: Path | None
    storage: LayerUsage


class DiskUsage:
    """Readings by guid. min_age_s: minimum lifetime of a reading."""

    def __init__(self, clock: Clock, *, min_age_s: float) -> None:
        self._clock = clock
        self._min_age_s = min_age_s
        self._readings: dict[str, _Reading] = {}
        self._walks = ThreadPoolExecutor(WALKS_MOST, thread_name_prefix="walk")

    def close(self) -> None:
        """Stop the threads without waiting for running walks."""
        self._walks.shutdown(wait=False, cancel_futures=True)

    async def of(self, guid: str, pid: int, limits: LayerUsage | None = None) -> LayerUsage:
        """The disk usage of the container with init process ``pid``.

        limits: its limits, zero for none; default: those of the last call. Raises Uncountable, and OSError if
        the container is gone.
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
        if age < max(self._min_age_s, min(known.cost_s * GROWING_LIFETIME_FACTOR, GROWING_LIFETIME_MOST_S)):
            return False
        return age >= known.cost_s * LIFETIME_FACTOR or (
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
        """Forget the readings of all other containers."""
        self._readings = {guid: reading for guid, reading in self._readings.items() if guid in guids}


def _in_doubt(known: _Reading, limits: LayerUsage, storage: LayerUsage) -> bool:
    """Whether the file system grew by a suspicious fraction of the container's remaining space. Pure."""
    measures = (
        (storage.size - known.storage.size, limits.size, known.usage.size),
        (storage.inodes - known.storage.inodes, limits.inodes, known.usage.inodes),
    )
    return any(limit and grown > (limit - used) * GROWTH_FRACTION for grown, limit, used in measures)
