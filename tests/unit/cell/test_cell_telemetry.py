"""From rep.json to where logs and metrics go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from cell.certs import Authority
from cell.telemetry import TelemetryError, open_telemetry
from executor.logs.api import LogLine, Stream
from executor.logs.loggregator import BATCH_SENDER, SERVER_NAME
from executor.logs.proto import loggregator_pb2 as pb
from executor.logs.sinks import RingSink
from rep.config import Loggregator, RepConfig

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
def authority() -> Authority:
    return Authority.create("loggregator-ca")


@pytest.fixture
def keys(authority: Authority, tmp_path: Path) -> Loggregator:
    files = authority.issue(tmp_path / "rep", "rep")
    return Loggregator(
        loggregator_ca_path=str(files.ca_file),
        loggregator_cert_path=str(files.cert_file),
        loggregator_key_path=str(files.key_file),
        loggregator_instance_id="cell-7",
        loggregator_job_origin="my-rep",
        BatchFlushInterval=1_000_000,
    )


@asynccontextmanager
async def agent(
    authority: Authority, folder: Path
) -> AsyncIterator[tuple[int, asyncio.Queue[pb.EnvelopeBatch]]]:
    """An agent that wants a certificate of its authority and calls itself by the agents' usual name."""
    files = authority.issue(folder, "agent", names=[x509.DNSName(SERVER_NAME)])
    came: asyncio.Queue[pb.EnvelopeBatch] = asyncio.Queue()

    async def sender(
        requests: AsyncIterator[pb.EnvelopeBatch], _: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.BatchSenderResponse:
        async for one in requests:
            came.put_nowait(one)
        return pb.BatchSenderResponse()

    server = grpc.aio.server()
    service, method = BATCH_SENDER[1:].split("/")
    handler = grpc.stream_unary_rpc_method_handler(
        sender,
        request_deserializer=pb.EnvelopeBatch.FromString,
        response_serializer=pb.BatchSenderResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    credentials = grpc.ssl_server_credentials(
        [(files.key_file.read_bytes(), files.cert_file.read_bytes())],
        root_certificates=files.ca_file.read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port, came
    finally:
        await server.stop(None)


async def test_loggregator_gets_lines_and_metrics_with_the_cell_s_labels(
    keys: Loggregator, authority: Authority, tmp_path: Path
) -> None:
    async with agent(authority, tmp_path / "agent") as (port, came):
        config = RepConfig(loggregator=replace(keys, loggregator_api_port=port))
        async with open_telemetry(config) as telemetry:
            telemetry.sink.emit(LINE)
            telemetry.meter.gauge("ContainerCount", 3, "Metric", {"zone": "z1"})
            found: list[pb.Envelope] = []
            async with asyncio.timeout(20):
                while len(found) < 2:
                    found += (await came.get()).batch
    by_source = {one.source_id: one for one in found}
    assert by_source["app"].log.payload == b"hello"
    gauge = by_source["rep"]
    assert (gauge.instance_id, dict(gauge.tags)) == ("cell-7", {"origin": "my-rep", "zone": "z1"})
    assert (gauge.gauge.metrics["ContainerCount"].value, gauge.gauge.metrics["ContainerCount"].unit) == (
        3, "Metric",
    )  # fmt: skip


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


async def test_a_place_whose_authority_is_missing_is_said(tmp_path: Path) -> None:
    config = RepConfig(log_sinks=(f"syslog+tls://logs?ca={tmp_path}/none",))
    with pytest.raises(TelemetryError, match=r"log_sinks: 'syslog\+tls://logs.*No such file"):
        async with open_telemetry(config):
            pass
