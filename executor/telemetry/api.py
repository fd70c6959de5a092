"""Metric types, and the interface of their emitter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value with its unit.

    Units of the cell: ``nanos``, ``MiB``, ``Metric``; of apps: ``bytes``, ``percentage``, ``nanoseconds``,
    ``B/s``.
    """

    value: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Source of a metric."""

    source_id: str
    instance_id: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeMetric:
    """Values of one measurement. time_ns: ns since the epoch."""

    labels: Labels
    time_ns: int
    values: Mapping[str, Gauge]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterMetric:
    """A counter: increased by ``delta``, or with the absolute value ``total``; the unused one is 0."""

    labels: Labels
    time_ns: int
    name: str
    delta: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerMetric:
    """A duration from start to stop, ns since the epoch."""

    labels: Labels
    time_ns: int
    name: str
    start_ns: int
    stop_ns: int


Metric = GaugeMetric | CounterMetric | TimerMetric


class MetricsEmitter(Protocol):
    """Emits metrics. Must neither block nor raise."""

    def emit_metric(self, metric: Metric) -> None: ...


class NoEmitter:
    """Discards all metrics."""

    def emit_metric(self, metric: Metric) -> None:
        """Discard the metric."""
