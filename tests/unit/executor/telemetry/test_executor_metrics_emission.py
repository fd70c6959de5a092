"""Names and values of the metrics of the cell and its apps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from executor.logs.ledger import LogLedger
from executor.logs.sinks import RingSink
from executor.logs.streamer import LogStreamer
from executor.model import Container, ContainerMetrics, LogConfig, MetricsConfig, RunInfo
from executor.telemetry.api import CounterMetric, Gauge, GaugeMetric, Labels, Metric, TimerMetric
from executor.telemetry.app_metrics import (
    ZERO_TIME_NS,
    AppMetrics,
    Spike,
    app_labels,
    entitlement_percentage,
    next_spike,
)
from executor.telemetry.meter import Meter
from tests.support.clocks import HeldClock
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit

RECORDED = json.loads((GOLDEN_FILES / "wire" / "app-logs" / "metrics.json").read_text())["metrics"]


class Told:
    """Keeps metrics."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []

    def emit_metric(self, metric: Metric) -> None:
        self.metrics.append(metric)

    def take(self) -> list[Metric]:
        taken, self.metrics = self.metrics, []
        return taken


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


LABELS = Labels(source_id="rep", instance_id="0", tags={"origin": "rep"})


def test_a_measurement_is_told_at_once(told: Told, clock: HeldClock) -> None:
    meter = Meter(told, LABELS, clock)
    meter.count("C")
    meter.count("C", 3)
    meter.gauge("G", 7, "MiB", {"zone": "z1"})
    meter.duration("D", 1.5)
    now = clock.time_ns()
    zoned = Labels(source_id="rep", instance_id="0", tags={"origin": "rep", "zone": "z1"})
    assert told.metrics == [
        CounterMetric(labels=LABELS, time_ns=now, name="C", delta=1),
        CounterMetric(labels=LABELS, time_ns=now, name="C", delta=3),
        GaugeMetric(labels=zoned, time_ns=now, values={"G": Gauge(7, "MiB")}),
        GaugeMetric(labels=LABELS, time_ns=now, values={"D": Gauge(1_500_000_000, "nanos")}),
    ]
    snapshot = meter.snapshot()
    assert snapshot.counters == {"C": 4}
    assert snapshot.gauges == {"G{zone=z1}": Gauge(7, "MiB"), "D": Gauge(1_500_000_000, "nanos")}


def reading(cpu: int, entitlement: int, age: int = 1) -> ContainerMetrics:
    return ContainerMetrics(cpu_time_ns=cpu, cpu_entitlement_ns=entitlement, age_ns=age)


@pytest.mark.parametrize(
    ("readings", "spikes"),
    [
        ([(1, 2), (2, 2)], [None, None]),
        ([(3, 2), (4, 3), (4, 5), (4, 6)], [Spike(0), Spike(0), Spike(0, 2), Spike(0, 2)]),
        ([(1, 2), (4, 3), (5, 5), (7, 6)], [None, Spike(1), Spike(1, 2), Spike(3)]),
    ],
)
def test_spikes(readings: Sequence[tuple[int, int]], spikes: Sequence[Spike | None]) -> None:
    """The n-th reading is taken n ns after the beginning."""
    last = None
    for now, ((cpu, entitlement), expected) in enumerate(zip(readings, spikes, strict=True)):
        last = next_spike(last, reading(cpu, entitlement), now)
        assert last == expected


@pytest.mark.parametrize(
    ("previous", "percentage"),
    [(None, 0.0), (reading(10, 100), 50.0), (reading(40, 200), 0.0), (reading(40, 300), 0.0)],
)
def test_entitlement_is_over_the_time_between_two_readings(
    previous: ContainerMetrics | None, percentage: float
) -> None:
    assert entitlement_percentage(reading(60, 200), previous) == percentage


@pytest.mark.parametrize(
    ("tags", "ids"),
    [({}, ("guid", "3")), ({"source_id": "app", "instance_id": "9"}, ("app", "9"))],
)
def test_whose_metrics_they_are(tags: Mapping[str, str], ids: tuple[str, str]) -> None:
    config = MetricsConfig(guid="guid", index=3, tags={**tags, "x": "1"})
    labels = app_labels(Container(guid="c", run_info=RunInfo(metrics_config=config)), "job")
    assert (labels.source_id, labels.instance_id) == ids
    assert labels.tags == {"origin": "job", "x": "1", "source_id": ids[0], "instance_id": ids[1]}


APP = Container(
    guid="c",
    tags={"lifecycle": "lrp"},
    run_info=RunInfo(
        metrics_config=MetricsConfig(guid="golden-web", tags={"process_type": "web"}),
        log_rate_limit_bytes_per_second=-1,
    ),
)
FIRST = ContainerMetrics(
    memory_usage=1, memory_limit=2, disk_usage=3, disk_limit=4, cpu_time_ns=5, age_ns=6, cpu_entitlement_ns=2
)


def shape(metric: Metric | dict[str, Any]) -> tuple[object, ...]:
    """Kind, tags, names and units: what does not depend on the moment."""
    if isinstance(metric, dict):
        tags = tuple(sorted(metric["tags"].items()))
        if metric["kind"] == "gauge":
            return "gauge", tags, tuple(sorted((name, v["unit"]) for name, v in metric["metrics"].items()))
        return metric["kind"], tags, metric["name"]
    tags = tuple(sorted(metric.labels.tags.items()))
    if isinstance(metric, GaugeMetric):
        return "gauge", tags, tuple(sorted((name, gauge.unit) for name, gauge in metric.values.items()))
    return "counter" if isinstance(metric, CounterMetric) else "timer", tags, metric.name


def test_an_app_is_told_of_as_recorded(told: Told, clock: HeldClock) -> None:
    logged = iter((0, 456, 456))
    apps = AppMetrics(told, lambda _: next(logged), clock)
    apps.report([(APP, FIRST)])
    clock.now += 10
    apps.report([(APP, replace(FIRST, cpu_time_ns=6, cpu_entitlement_ns=4, cpu_percentage=12.5))])
    assert {shape(metric) for metric in told.metrics} == {
        shape(metric) for metric in RECORDED if metric["emitted_for"] == "app"
    }
    resources, ages, spike, rate = told.metrics[-4:]
    assert isinstance(resources, GaugeMetric)
    assert {name: gauge.value for name, gauge in resources.values.items()} == {
        "cpu": 12.5, "memory": 1, "memory_quota": 2, "disk": 3, "disk_quota": 4,
    }  # fmt: skip
    assert isinstance(ages, GaugeMetric)
    assert {name: gauge.value for name, gauge in ages.values.items()} == {
        "container_age": 6, "cpu_entitlement": 50, "absolute_usage": 6, "absolute_entitlement": 4,
    }  # fmt: skip
    assert isinstance(spike, TimerMetric)
    assert (spike.start_ns, spike.stop_ns) == (100_000_000_000, ZERO_TIME_NS)
    assert isinstance(rate, GaugeMetric)
    assert rate.values == {"log_rate": Gauge(45.6, "B/s"), "log_rate_limit": Gauge(-1, "B/s")}


def test_counters_and_what_the_operator_excludes(told: Told, clock: HeldClock) -> None:
    with_network = replace(FIRST, rx_bytes=7, tx_bytes=8, cpu_time_ns=0)
    AppMetrics(told, lambda _: 0, clock, excluded=["cpu_entitlement", "tx_bytes"]).report(
        [(APP, with_network)]
    )
    _, ages, counter = told.take()
    assert isinstance(ages, GaugeMetric)
    assert list(ages.values) == ["container_age", "absolute_usage", "absolute_entitlement"]
    assert isinstance(counter, CounterMetric)
    assert (counter.name, counter.delta, counter.total) == ("rx_bytes", 0, 7)
    everything = [
        "cpu_entitlement",
        "container_age",
        "absolute_usage",
        "absolute_entitlement",
        "rx_bytes",
        "tx_bytes",
    ]
    AppMetrics(told, lambda _: 0, clock, excluded=everything).report([(APP, with_network)])
    assert len(told.take()) == 1


def test_containers_of_nobody_and_rates_of_tasks_are_not_told(told: Told, clock: HeldClock) -> None:
    nobody = replace(APP, run_info=RunInfo())
    task = replace(APP, tags={"lifecycle": "task"})
    apps = AppMetrics(told, lambda _: 0, clock)
    apps.report([(nobody, FIRST)])
    assert told.take() == []
    apps.report([(task, FIRST)])
    clock.now += 1
    apps.report([(task, FIRST)])
    names = {name for one in told.take() if isinstance(one, GaugeMetric) for name in one.values}
    assert "cpu" in names
    assert "log_rate" not in names


def test_what_apps_log_is_known_while_they_live_and_what_limits_cost_is_counted() -> None:
    meter = Meter()
    ledger = LogLedger(meter)
    streamer = LogStreamer(RingSink(), LogConfig(guid="g"))
    ledger.enter("c", streamer)
    streamer.stream("APP").stdout(b"hello\n")
    assert ledger.accepted_bytes("c") == 5
    ledger.limit_exceeded()
    ledger.dropped("c", 2, 30)
    assert meter.snapshot().counters == {
        "AppInstanceExceededLogRateLimitCount": 1,
        "AppInstanceDroppedLogLines": 2,
        "AppInstanceDroppedLogBytes": 30,
    }
    del streamer
    assert ledger.accepted_bytes("c") == 0


async def test_capacity_carries_the_zone(world: World) -> None:
    world.configure(zone="z1", memory_mb=1024)
    async with world.running():
        gauges = world.meter.snapshot().gauges
    assert gauges["CapacityTotalMemory{zone=z1}"] == Gauge(1024, "MiB")
    assert gauges["ContainerCount{zone=z1}"] == Gauge(0, "Metric")
