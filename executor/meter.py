"""Component metrics: what the cell says about itself.

A registry in memory: counters since the start and the latest value of each gauge. Whoever transports
metrics reads :meth:`Meter.snapshot`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value with its unit: ``nanos``, ``MiB`` or ``Metric``."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """Counters and gauges by name."""

    counters: Mapping[str, int]
    gauges: Mapping[str, Gauge]


class Meter:
    """Counts and measures."""

    def __init__(self) -> None:
        self._counters: Counter[str] = Counter()
        self._gauges: dict[str, Gauge] = {}

    def count(self, name: str) -> None:
        self._counters[name] += 1

    def gauge(self, name: str, value: float, unit: str = "Metric") -> None:
        self._gauges[name] = Gauge(value, unit)

    def duration(self, name: str, seconds: float) -> None:
        """A gauge in ns."""
        self.gauge(name, round(seconds * 1e9), "nanos")

    @contextmanager
    def timed(self, *, succeeded: str = "", failed: str = "") -> Iterator[None]:
        """Measure the block under one name or the other; an empty name is not measured.

        An interrupted block is neither.
        """
        started = time.monotonic()
        try:
            yield
        except Exception:
            if failed:
                self.duration(failed, time.monotonic() - started)
            raise
        if succeeded:
            self.duration(succeeded, time.monotonic() - started)

    def snapshot(self) -> MeterSnapshot:
        return MeterSnapshot(counters=dict(self._counters), gauges=dict(self._gauges))
