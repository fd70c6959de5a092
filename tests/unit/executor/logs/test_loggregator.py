"""The loggregator stream: the bytes of a Go cell, and an agent that disconnects."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from executor.logs.api import LogLine, Stream
from executor.logs.loggregator import Agent, Loggregator
from executor.logs.loggregator_envelopes import Item, batch, envelope
from executor.logs.proto import loggregator_pb2 as pb
from executor.telemetry.api import CounterMetric, Gauge, GaugeMetric, Labels, TimerMetric
from tests.support.loglines import make_line
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "app-logs"
RECORDED = [
    base64.b64decode(record["body_base64"])
    for record in json.loads((GOLDEN / "raw-batches.json").read_text())["batches"]
]
METRICS = json.loads((GOLDEN / "metrics.json").read_text())["metrics"]


def item_of(found: pb.Envelope) -> Item:
    """What we would have had to say to send this envelope."""
    labels = Labels(source_id=found.source_id, instance_id=found.instance_id, tags=dict(found.tags))
    match found.WhichOneof("message"):
        case "log":
            return LogLine(
                payload=found.log.payload,
                stream=Stream.ERR if found.log.type == pb.Log.ERR else Stream.OUT,
                source_id=found.source_id,
                instance_id=found.instance_id,
                source_type=found.tags["source_type"],
                time_ns=found.timestamp,
                tags=dict(found.tags),
            )
        case "gauge":
            values = {name: Gauge(gauge.value, gauge.unit) for name, gauge in found.gauge.metrics.items()}
            return GaugeMetric(labels=labels, time_ns=found.timestamp, values=values)
        case "counter":
            counter = found.counter
            return CounterMetric(
                labels=labels,
                time_ns=found.timestamp,
                name=counter.name,
                delta=counter.delta,
                total=counter.total,
            )
        case other:
            raise AssertionError(f"no such envelope was recorded: {other}")


@pytest.mark.parametrize("body", RECORDED)
def test_recorded_batches(body: bytes) -> None:
    found = pb.EnvelopeBatch.FromString(body)
    assert found.batch
    made = batch(map(item_of, found.batch))
    assert made == found
    assert len(made.SerializeToString()) == len(body), "a field of the recording has no place in ours"


@pytest.mark.parametrize(
    "recorded", METRICS, ids=lambda each: next(iter(each.get("metrics", [each["kind"]])))
)
def test_recorded_metrics(recorded: dict[str, Any]) -> None:
    labels = Labels(
        source_id=recorded["source_id"], instance_id=recorded["instance_id"], tags=recorded["tags"]
    )
    match recorded["kind"]:
        case "gauge":
            values = {name: Gauge(one["example"], one["unit"]) for name, one in recorded["metrics"].items()}
            made = envelope(GaugeMetric(labels=labels, time_ns=1, values=values))
            assert {name: (gauge.unit, gauge.value) for name, gauge in made.gauge.metrics.items()} == {
                name: (one["unit"], one["example"]) for name, one in recorded["metrics"].items()
            }
        case "counter":
            name, delta, total = recorded["name"], recorded["delta"], recorded["total"]
            made = envelope(CounterMetric(labels=labels, time_ns=1, name=name, delta=delta, total=total))
            assert (made.counter.name, made.counter.delta, made.counter.total) == (name, delta, total)
        case "timer":
            name = recorded["name"]
            made = envelope(TimerMetric(labels=labels, time_ns=1, name=name, start_ns=2, stop_ns=3))
            assert (made.timer.name, made.timer.start, made.timer.stop) == (name, 2, 3)
    assert (made.source_id, made.instance_id, dict(made.tags)) == (
        recorded["source_id"], recorded["instance_id"], recorded["tags"],
    )  # fmt: skip


async def test_envelopes_go_out_a_hundred_at_once(loggregator_agent: Any) -> None:
    agent = loggregator_agent
    async with agent.listening() as port:
        sink = Loggregator(Agent(address=f"127.0.0.1:{port}", credentials=None))
        for number in range(250):
            sink.emit(make_line(str(number), source_id=str(number % 2)))
        sink.emit_metric(
            CounterMetric(labels=Labels(source_id="rep", instance_id="0"), time_ns=1, name="C", delta=1)
        )
        async with sink.running():
            await agent.until(lambda came: len(came) >= 251)
        assert agent.streams == 1
        assert [len(one.batch) for one in agent.batches] == [100, 100, 51]
        assert sorted(int(text) for text in agent.payloads if text) == list(range(250))
        assert (sink.delivered, sink.dropped) == (251, 0)


async def test_an_identity_that_went_away_is_a_reason_not_a_crash(tmp_path: Path, caplog: Any) -> None:
    identity = tmp_path / "key"

    def credentials() -> grpc.ChannelCredentials:
        identity.read_bytes()
        return grpc.local_channel_credentials()

    sink = Loggregator(Agent(address="127.0.0.1:1", credentials=credentials, flush_interval_s=0.001))
    async with sink.running():
        sink.emit(make_line("a"))
    assert sink.dropped == 1
    assert "No such file" in caplog.records[0].data["error"]


async def test_an_incomplete_batch_goes_out_in_time(loggregator_agent: Any) -> None:
    agent = loggregator_agent
    async with agent.listening() as port:
        sink = Loggregator(Agent(address=f"127.0.0.1:{port}", credentials=None, flush_interval_s=0.01))
        async with sink.running():
            sink.emit(make_line("a"))
            sink.emit(make_line("b"))
            await agent.until(lambda came: len(came) >= 2)
        assert [len(one.batch) for one in agent.batches] == [2]


async def test_an_agent_that_comes_late_and_restarts_gets_what_waited(
    loggregator_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.logs.shipper.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("executor.logs.shipper.LONGEST_PAUSE_S", 0.05)
    agent = loggregator_agent
    async with agent.listening() as port:
        pass
    sink = Loggregator(Agent(address=f"127.0.0.1:{port}", credentials=None, flush_interval_s=0.001))
    sink.emit(make_line("early"))
    async with sink.running():
        async with agent.listening(port):
            await agent.until(lambda came: len(came) >= 1)
        sink.emit(make_line("meanwhile"))
        async with agent.listening(port):
            await agent.until(lambda came: len(came) >= 2)
    assert agent.payloads == [b"early", b"meanwhile"]
