"""Log and metrics destinations from rep.json."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from bbs.client.identity import IdentityFiles
from cell.assembly.telemetry import TelemetryError, open_telemetry
from cell.development.certs import Authority
from executor.logs.api import LogLine, Stream
from executor.logs.loggregator import SERVER_NAME
from executor.logs.sinks import RingSink
from rep.config import InvalidConfig, Loggregator, RepConfig, validate
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

LINE = LogLine(b"hello", Stream.OUT, "app", "0", "APP", 5, {"origin": "rep"})


def messages(path: Path) -> list[str]:
    return [json.loads(text)["message"] for text in path.read_text().splitlines()]


async def test_lines_go_to_every_place_and_metrics_can_be_looked_at(tmp_path: Path) -> None:
    ring = RingSink()
    config = RepConfig(log_sinks=(f"file:{tmp_path}/a", f"file:{tmp_path}/b"))
    async with open_telemetry(config, ring) as telemetry:
        telemetry.sink.emit(LINE)
        telemetry.meter.count("C")
    assert messages(tmp_path / "a") == messages(tmp_path / "b") == ["hello"]
    assert ring.lines() == [LINE]
    assert telemetry.meter.snapshot().counters == {"C": 1}


async def test_other_settings_send_lines_elsewhere(tmp_path: Path, capfdbinary: Any) -> None:
    def config(*names: str) -> RepConfig:
        return RepConfig(log_sinks=tuple(f"file:{tmp_path}/{name}" for name in names))

    async with open_telemetry(config("a")) as telemetry:
        telemetry.sink.emit(LINE)
        await telemetry.change_sinks(config("a", "b"))
        telemetry.sink.emit(LINE)
        await telemetry.change_sinks(config())
        telemetry.sink.emit(LINE)
        missing = RepConfig(log_sinks=(f"syslog+tls://logs?ca={tmp_path}/none",))
        with pytest.raises(TelemetryError, match="No such file"):
            await telemetry.change_sinks(missing)
        telemetry.sink.emit(LINE)
    assert [len(messages(tmp_path / name)) for name in "ab"] == [2, 1]
    assert len(capfdbinary.readouterr().err.splitlines()) == 2


async def test_with_nothing_configured_lines_go_to_stderr(capfdbinary: Any) -> None:
    async with open_telemetry(RepConfig()) as telemetry:
        telemetry.sink.emit(LINE)
    assert json.loads(capfdbinary.readouterr().err)["message"] == "hello"


async def test_somebody_else_s_sink_is_enough(capfdbinary: Any) -> None:
    ring = RingSink()
    async with open_telemetry(RepConfig(), ring) as telemetry:
        telemetry.sink.emit(LINE)
    assert ring.lines() == [LINE]
    assert capfdbinary.readouterr().err == b""


@pytest.fixture
def keys(loggregator_identities: tuple[IdentityFiles, IdentityFiles]) -> Loggregator:
    _, files = loggregator_identities
    return Loggregator(
        loggregator_ca_path=str(files.ca_file),
        loggregator_cert_path=str(files.cert_file),
        loggregator_key_path=str(files.key_file),
        loggregator_instance_id="cell-7",
        loggregator_job_origin="my-rep",
        BatchFlushInterval=1_000_000,
    )


async def test_loggregator_gets_lines_and_metrics_with_the_cell_s_labels(
    keys: Loggregator,
    loggregator_agent: Any,
    loggregator_identities: tuple[IdentityFiles, IdentityFiles],
) -> None:
    async with loggregator_agent.listening(identity=loggregator_identities[0]) as port:
        config = RepConfig(loggregator=replace(keys, loggregator_api_port=port))
        async with open_telemetry(config) as telemetry:
            telemetry.sink.emit(LINE)
            telemetry.meter.gauge("ContainerCount", 3, "Metric", {"zone": "z1"})
            await loggregator_agent.until(lambda came: len(came) >= 2)
    assert (telemetry.meter.snapshot().gauges).keys() == {"ContainerCount{zone=z1}"}
    by_source = {one.source_id: one for one in loggregator_agent.envelopes}
    assert by_source["app"].log.payload == b"hello"
    metric = by_source["rep"]
    assert (metric.instance_id, dict(metric.tags)) == ("cell-7", {"origin": "my-rep", "zone": "z1"})
    gauge = metric.gauge.metrics["ContainerCount"]
    assert (gauge.value, gauge.unit) == (3, "Metric")


async def test_half_an_identity_sends_nothing(keys: Loggregator, capfdbinary: Any) -> None:
    config = RepConfig(loggregator=replace(keys, loggregator_key_path=""))
    async with open_telemetry(config) as telemetry:
        telemetry.sink.emit(LINE)
        telemetry.meter.count("C")
    assert b"hello" in capfdbinary.readouterr().err


async def test_an_identity_that_cannot_be_read_is_said(keys: Loggregator, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.crt")
    config = RepConfig(loggregator=replace(keys, loggregator_cert_path=missing))
    with pytest.raises(TelemetryError, match=r"failed-to-initialize-metron-client: .*missing\.crt"):
        async with open_telemetry(config):
            pass


async def test_an_expired_certificate_is_logged_and_tried_again(
    loggregator_agent: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs do not take a cell down: it starts, and delivers once the certificate is renewed."""
    authority = Authority.create("ca")
    agent = authority.issue(tmp_path / "agent", "agent", names=[x509.DNSName(SERVER_NAME)])
    files = authority.issue(tmp_path / "client", "client", lifetime=timedelta(minutes=-1))
    keys = Loggregator(
        loggregator_ca_path=str(files.ca_file),
        loggregator_cert_path=str(files.cert_file),
        loggregator_key_path=str(files.key_file),
        BatchFlushInterval=1_000_000,
    )
    async with loggregator_agent.listening(identity=agent) as port:
        config = RepConfig(loggregator=replace(keys, loggregator_api_port=port))
        async with open_telemetry(config) as telemetry, asyncio.timeout(PATIENCE_S):
            told = [record for record in caplog.records if record.levelno >= logging.ERROR]
            assert [record.getMessage() for record in told] == ["loggregator-certificate-expired"]
            telemetry.sink.emit(LINE)
            authority.issue(tmp_path / "client", "client")
            while not loggregator_agent.envelopes:
                telemetry.sink.emit(LINE)
                await asyncio.sleep(0.05)
    assert loggregator_agent.payloads[0] == b"hello"


@pytest.mark.parametrize("text", ["nowhere", "file:relative", "syslog+tcp://"])
def test_a_place_that_is_none_keeps_a_cell_from_starting(text: str) -> None:
    config = RepConfig(
        cell_id="c",
        bbs_address="http://127.0.0.1:1",
        locket_address="127.0.0.1:2",
        log_sinks=("stdout", text),
    )
    with pytest.raises(InvalidConfig, match=r"invalid-log-sinks: invalid-log-sink \(log_sinks: '") as caught:
        validate(config)
    assert caught.value.exit_status == 2


async def test_a_place_whose_authority_is_missing_is_said(tmp_path: Path) -> None:
    config = RepConfig(log_sinks=(f"syslog+tls://logs?ca={tmp_path}/none",))
    with pytest.raises(TelemetryError, match=r"log_sinks: 'syslog\+tls://logs.*No such file"):
        async with open_telemetry(config):
            pass
