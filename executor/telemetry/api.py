"""What metrics are on their way out of the cell, and who takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value with its unit: ``nanos``, ``MiB``, ``Metric`` of the cell; ``bytes``, ``percentage``,
    ``nanoseconds``, ``B/s`` of apps."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Whom a metric is about."""

    source_id: str
    instance_id: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeMetric:
    """Values measured together. time_ns: ns since the epoch."""

    labels: Labels
    time_ns: int
    values: Mapping[str, Gauge]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterMetric:
    """Something that happened ``delta`` times more, or whose absolute count is ``total``; 0 when unused."""

    labels: Labels
    time_ns: int
    name: str
    delta: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerMetric:
    """Something that lasted from start to stop, ns since the epoch."""

    labels: Labels
    time_ns: int
    name: str
    start_ns: int
    stop_ns: int


Metric = GaugeMetric | CounterMetric | TimerMetric


class MetricsEmitter(Protocol):
    """Takes metrics. Must neither block nor raise."""

    def emit_metric(self, metric: Metric) -> None: ...


class NoEmitter:
    """For a cell that tells its metrics to nobody."""

    def emit_metric(self, metric: Metric) -> None:
        """Dropped."""
