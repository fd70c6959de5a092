"""App metrics: resources, CPU spikes and log rate of each app.

Each tick of the readings emits one report per container with a source id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from executor.clock import Clock
from executor.containment import Containment
from executor.model import Container, ContainerMetrics
from executor.telemetry.api import (
    CounterMetric,
    Gauge,
    GaugeMetric,
    Labels,
    Metric,
    MetricsEmitter,
    TimerMetric,
)

ZERO_TIME_NS = -6795364578871345152
"""Peers read this value as "no time": the year 1 in ns since the epoch, wrapped to 64 bits."""

LIFECYCLE_TAG, LRP_LIFECYCLE = "lifecycle", "lrp"
"""Tag of a container that belongs to an LRP; log rates are emitted only for these."""


@dataclass(frozen=True, slots=True)
class Spike:
    """The last time an app exceeded its CPU entitlement. stop_ns: None while the spike lasts."""

    start_ns: int
    stop_ns: int | None = None


def next_spike(last: Spike | None, reading: ContainerMetrics, now_ns: int) -> Spike | None:
    """The current spike. A spike lasts while the total CPU time exceeds the total entitlement."""
    spiking = reading.cpu_time_ns > reading.cpu_entitlement_ns
    lasts = last is not None and last.stop_ns is None
    if spiking:
        return last if lasts else Spike(now_ns)
    return replace(last, stop_ns=now_ns) if last is not None and lasts else last


def entitlement_percentage(reading: ContainerMetrics, previous: ContainerMetrics | None) -> float:
    """CPU time in percent of the entitlement, since the previous reading; 0 without one."""
    if previous is None or reading.cpu_entitlement_ns <= previous.cpu_entitlement_ns:
        return 0.0
    used = reading.cpu_time_ns - previous.cpu_time_ns
    return used / (reading.cpu_entitlement_ns - previous.cpu_entitlement_ns) * 100


def app_labels(container: Container, origin: str) -> Labels:
    """Labels of a container's metrics. Missing id tags default to the metrics guid and the index."""
    config = container.run_info.metrics_config
    ids = {
        "source_id": config.tags.get("source_id", config.guid),
        "instance_id": config.tags.get("instance_id", str(config.index)),
    }
    return Labels(**ids, tags={"origin": origin, **config.tags, **ids})


def resource_metrics(
    labels: Labels,
    reading: ContainerMetrics,
    previous: ContainerMetrics | None,
    *,
    excluded: Collection[str],
    time_ns: int,
) -> Iterable[Metric]:
    """The gauges and counters of one reading. excluded: names of optional metrics that are not emitted."""
    yield GaugeMetric(
        labels=labels,
        time_ns=time_ns,
        values={
            "cpu": Gauge(reading.cpu_percentage, "percentage"),
            "memory": Gauge(reading.memory_usage, "bytes"),
            "disk": Gauge(reading.disk_usage, "bytes"),
            "memory_quota": Gauge(reading.memory_limit, "bytes"),
            "disk_quota": Gauge(reading.disk_limit, "bytes"),
        },
    )
    ages = {
        "container_age": Gauge(reading.age_ns, "nanoseconds"),
        "cpu_entitlement": Gauge(entitlement_percentage(reading, previous), "percentage"),
        "absolute_usage": Gauge(reading.cpu_time_ns, "nanoseconds"),
        "absolute_entitlement": Gauge(reading.cpu_entitlement_ns, "nanoseconds"),
    }
    if reported := {name: gauge for name, gauge in ages.items() if name not in excluded}:
        yield GaugeMetric(labels=labels, time_ns=time_ns, values=reported)
    for name, total in (("rx_bytes", reading.rx_bytes), ("tx_bytes", reading.tx_bytes)):
        if total is not None and name not in excluded:
            yield CounterMetric(labels=labels, time_ns=time_ns, name=name, total=total)


def spike_metric(labels: Labels, spike: Spike, time_ns: int) -> TimerMetric:
    """The spike as a timer."""
    stop_ns = ZERO_TIME_NS if spike.stop_ns is None else spike.stop_ns
    return TimerMetric(labels=labels, time_ns=time_ns, name="spike", start_ns=spike.start_ns, stop_ns=stop_ns)


def log_rate_metric(labels: Labels, rate: float, limit: int, time_ns: int) -> GaugeMetric:
    """Log rate and its limit in bytes per second (-1: unlimited)."""
    values = {"log_rate": Gauge(rate, "B/s"), "log_rate_limit": Gauge(limit, "B/s")}
    return GaugeMetric(labels=labels, time_ns=time_ns, values=values)


@dataclass(frozen=True, slots=True)
class _Last:
    """Values of the last tick for comparison. logged_bytes: accepted so far."""

    reading: ContainerMetrics
    spike: Spike | None
    logged_bytes: int
    at: float


class AppMetrics:
    """Emits the metrics of all apps. logged_bytes: bytes logged by a container since its start, by guid."""

    def __init__(
        self,
        emitter: MetricsEmitter,
        logged_bytes: Callable[[str], int],
        clock: Clock,
        *,
        origin: str = "rep",
        excluded: Collection[str] = (),
        containment: Containment | None = None,
    ) -> None:
        self._containment = containment or Containment()
        self._emitter = emitter
        self._logged_bytes = logged_bytes
        self._clock = clock
        self._origin = origin
        self._excluded = frozenset(excluded)
        self._last: Mapping[str, _Last] = {}

    def report(self, readings: Iterable[tuple[Container, ContainerMetrics]]) -> None:
        """Report one tick; containers missing from it are forgotten."""
        latest = {}
        for container, reading in readings:
            with self._containment.of(container.guid, "report metrics"):
                latest[container.guid] = self._emit_app(container, reading)
        self._last = latest

    def _emit_app(self, container: Container, reading: ContainerMetrics) -> _Last:
        time_ns, at = self._clock.time_ns(), self._clock.monotonic()
        last = self._last.get(container.guid)
        spike = next_spike(last.spike if last else None, reading, time_ns)
        logged_bytes = self._logged_bytes(container.guid)
        labels = app_labels(container, self._origin)
        if labels.source_id:
            previous = last.reading if last else None
            for metric in resource_metrics(
                labels, reading, previous, excluded=self._excluded, time_ns=time_ns
            ):
                self._emitter.emit_metric(metric)
            if spike is not None:
                self._emitter.emit_metric(spike_metric(labels, spike, time_ns))
            if last is not None and at > last.at and container.tags.get(LIFECYCLE_TAG) == LRP_LIFECYCLE:
                rate = (logged_bytes - last.logged_bytes) / (at - last.at)
                limit = container.run_info.log_rate_limit_bytes_per_second
                self._emitter.emit_metric(log_rate_metric(labels, rate, limit, time_ns))
        return _Last(reading, spike, logged_bytes, at)
