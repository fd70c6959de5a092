"""Component metrics of the cell.

Each measurement is emitted at once. The meter also keeps the counters since the start and the latest value of
each gauge, see :meth:`Meter.snapshot`, and adds it to the family for Prometheus that replaces it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from common.metrics.families import Family, Kind
from common.metrics.instruments import Instruments
from executor.clock import Clock, SystemClock
from executor.telemetry.api import CounterMetric, Gauge, GaugeMetric, Labels, MetricsEmitter, NoEmitter
from executor.telemetry.families import FAMILIES
from executor.telemetry.stages import Stages

DEFAULT_LABELS = Labels(source_id="rep", instance_id="", tags={"origin": "rep"})

BASE_UNITS: Final = {"nanos": 1e-9, "MiB": 1 << 20, "Metric": 1}
"""Factors from the units of the component metrics to those of the families."""


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """Counters and gauges by name; the name of a gauge with tags is ``Name{tag=value,...}``."""

    counters: Mapping[str, int]
    gauges: Mapping[str, Gauge]


class Meter:
    """Counts and measures. labels: of every metric; a gauge's tags are added to them.

    instruments: the values for Prometheus. shown: the families that may replace component metrics. A family
    with more labels than the component metric says is set elsewhere.
    """

    def __init__(
        self,
        emitter: MetricsEmitter | None = None,
        labels: Labels = DEFAULT_LABELS,
        clock: Clock | None = None,
        instruments: Instruments | None = None,
        shown: Iterable[Family] = FAMILIES,
    ) -> None:
        self.instruments = instruments or Instruments()
        self.stages = Stages(self.instruments)
        self._replaced = {
            name: (family, values)
            for family in shown
            for name, values in family.replaces.items()
            if len(values) == len(family.labels)
        }
        self._emitter = emitter or NoEmitter()
        self._labels = labels
        self._clock = clock or SystemClock()
        self._counters: Counter[str] = Counter()
        self._gauges: dict[str, Gauge] = {}

    def count(self, name: str, delta: int = 1) -> None:
        """Increase the counter ``name`` by ``delta``."""
        self._counters[name] += delta
        if name in self._replaced:
            family, values = self._replaced[name]
            self.instruments.count(family, *values, by=delta)
        self._emitter.emit_metric(
            CounterMetric(labels=self._labels, time_ns=self._clock.time_ns(), name=name, delta=delta)
        )

    def gauge(
        self, name: str, value: float, unit: str = "Metric", tags: Mapping[str, str] | None = None
    ) -> None:
        """Set the gauge ``name``."""
        gauge = Gauge(value, unit)
        self._gauges[_key(name, tags)] = gauge
        self.show(name, gauge)
        self._emitter.emit_metric(
            GaugeMetric(labels=self._with(tags), time_ns=self._clock.time_ns(), values={name: gauge})
        )

    def duration(self, name: str, seconds: float) -> None:
        """Set a gauge in ns."""
        self.gauge(name, round(seconds * 1e9), "nanos")

    @contextmanager
    def timed(self, *, succeeded: str = "", failed: str = "") -> Iterator[None]:
        """Measure the duration of the block under the name for its result; an empty name emits nothing.

        An interrupted block emits nothing.
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

    def show(self, name: str, gauge: Gauge) -> None:
        """Set only the family for Prometheus."""
        if name not in self._replaced:
            return
        family, values = self._replaced[name]
        number = gauge.value * BASE_UNITS[gauge.unit]
        if family.kind is Kind.HISTOGRAM:
            self.instruments.observe(family, number, *values)
        else:
            self.instruments.set(family, number, *values)

    def _with(self, tags: Mapping[str, str] | None) -> Labels:
        if not tags:
            return self._labels
        return Labels(
            source_id=self._labels.source_id,
            instance_id=self._labels.instance_id,
            tags={**self._labels.tags, **tags},
        )


def _key(name: str, tags: Mapping[str, str] | None) -> str:
    if not tags:
        return name
    return name + "{" + ",".join(f"{tag}={value}" for tag, value in sorted(tags.items())) + "}"
