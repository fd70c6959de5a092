"""Conversion of lines and metrics to loggregator envelopes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from executor.engine.spool import Delivery
from executor.logs.api import LogLine, Stream
from executor.logs.proto import loggregator_pb2 as pb
from executor.telemetry.api import CounterMetric, GaugeMetric, Metric, TimerMetric

Item = LogLine | Metric


def batch(items: Iterable[Item]) -> pb.EnvelopeBatch:
    """One batch, in order."""
    return pb.EnvelopeBatch(batch=map(envelope, items))


def envelope(item: Item) -> pb.Envelope:
    """The envelope of one line or metric."""
    return _of_line(item) if isinstance(item, LogLine) else _of_metric(item)


def _of_line(line: LogLine) -> pb.Envelope:
    return pb.Envelope(
        timestamp=line.time_ns,
        source_id=line.source_id,
        instance_id=line.instance_id,
        tags=line.tags if line.delivery is None else {**line.tags, **_identity(line, line.delivery)},
        log=pb.Log(payload=line.payload, type=pb.Log.ERR if line.stream is Stream.ERR else pb.Log.OUT),
    )


def _identity(line: LogLine, delivery: Delivery) -> dict[str, str]:
    """Tags that identify a line of a durable process, which a restart may repeat."""
    return {"output": delivery.name, "output_offset": str(line.offset)}


def _of_metric(metric: Metric) -> pb.Envelope:
    made = pb.Envelope(
        timestamp=metric.time_ns,
        source_id=metric.labels.source_id,
        instance_id=metric.labels.instance_id,
        tags=metric.labels.tags,
    )
    match metric:
        case GaugeMetric():
            for name, gauge in metric.values.items():
                value = made.gauge.metrics[name]
                value.unit, value.value = gauge.unit, gauge.value
        case CounterMetric():
            made.counter.MergeFrom(pb.Counter(name=metric.name, delta=metric.delta, total=metric.total))
        case TimerMetric():
            made.timer.MergeFrom(pb.Timer(name=metric.name, start=metric.start_ns, stop=metric.stop_ns))
        case _:
            assert_never(metric)
    return made
