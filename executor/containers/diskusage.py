"""The disk usage of the cell's containers, read as often as is cheap.

Counting a writable layer means looking at every file in it. So a reading is kept, the longer the more it
cost: all of them together take a small, fixed part of a core per container.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from dataclasses import dataclass

from executor import layerusage
from executor.layerusage import LayerUsage
from executor.logs.clock import Clock

COST_FACTOR = 200
"""A reading is kept this many times as long as it took: half a percent of a core at most."""


@dataclass(frozen=True, slots=True)
class _Reading:
    usage: LayerUsage
    read_at: float
    cost_s: float


class DiskUsage:
    """Readings by guid. min_age_s: a younger one is never taken again."""

    def __init__(self, clock: Clock, *, min_age_s: float) -> None:
        self._clock = clock
        self._min_age_s = min_age_s
        self._readings: dict[str, _Reading] = {}

    async def of(self, guid: str, pid: int) -> LayerUsage:
        """The usage of the container whose init process is ``pid``. Raises OSError when it is gone."""
        known, now = self._readings.get(guid), self._clock.monotonic()
        if known is None or now - known.read_at >= max(self._min_age_s, known.cost_s * COST_FACTOR):
            usage = await asyncio.to_thread(layerusage.writable_layer, pid)
            known = _Reading(usage, now, self._clock.monotonic() - now)
            self._readings[guid] = known
        return known.usage

    def retain(self, guids: Set[str]) -> None:
        """Forget all others."""
        self._readings = {guid: reading for guid, reading in self._readings.items() if guid in guids}
