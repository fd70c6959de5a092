"""Delivery of a real app's lines and metrics to a loggregator agent, a syslog server and a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bbs.client.identity import IdentityFiles
from cell.development.local import LocalCell, local_cell

pytestmark = pytest.mark.docker

TICK = "1s"

APP = {
    "process_guid": "teller",
    "domain": "telemetry",
    "rootfs": "preloaded:busybox",
    "instances": 1,
    "action": {"run": {"path": "/bin/sh", "args": ["-c", "echo hello; exec sleep 1000"], "user": "vcap"}},
    "memory_mb": 32,
    "disk_mb": 32,
    "log_guid": "app-guid",
    "log_source": "APP",
    "metrics_guid": "app-guid",
}


@pytest.fixture
async def syslog() -> AsyncIterator[tuple[int, asyncio.Queue[bytes]]]:
    """A server that takes octet-counted messages: its port, and what came."""
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = await reader.readuntil(b" ")
                came.put_nowait(await reader.readexactly(int(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


@pytest.fixture
async def cell(
    tmp_path: Path,
    loggregator_agent: Any,
    loggregator_identities: tuple[IdentityFiles, IdentityFiles],
    syslog: tuple[int, asyncio.Queue[bytes]],
) -> AsyncIterator[LocalCell]:
    agent_files, files = loggregator_identities
    async with loggregator_agent.listening(identity=agent_files) as port:
        config = {
            "container_metrics_report_interval": TICK,
            "report_interval": TICK,
            "zone": "z7",
            "log_sinks": [f"syslog+tcp://127.0.0.1:{syslog[0]}", f"file:{tmp_path}/apps.log"],
            "loggregator": {
                "loggregator_api_port": port,
                "loggregator_ca_path": str(files.ca_file),
                "loggregator_cert_path": str(files.cert_file),
                "loggregator_key_path": str(files.key_file),
                "loggregator_instance_id": "cell-index",
                "loggregator_app_metric_exclusion_filter": ["cpu_entitlement"],
            },
        }
        path = tmp_path / "rep.json"
        path.write_text(json.dumps(config))
        async with local_cell(tmp_path / "state", arguments=["--config", str(path)]) as running:
            yield running


async def test_lines_and_metrics_arrive_everywhere(
    cell: LocalCell, loggregator_agent: Any, syslog: tuple[int, asyncio.Queue[bytes]], tmp_path: Path
) -> None:
    await cell.receptor.expect(201, "POST", "/v1/desired_lrps", APP)
    await cell.receptor.running("teller")

    def told(envelopes: list[Any]) -> bool:
        names = {name for one in envelopes for name in one.gauge.metrics}
        said = any(one.log.payload == b"hello" for one in envelopes)
        return said and {"cpu", "log_rate", "RequestsStarted", "CapacityTotalMemory"} <= names

    await loggregator_agent.until(told, 60)
    envelopes = loggregator_agent.envelopes
    (line,) = [one for one in envelopes if one.log.payload == b"hello"]
    assert (line.source_id, line.instance_id) == ("app-guid", "0")
    tags = dict(line.tags)
    assert tags.pop("output").endswith(".out")  # names the stream, so that a reader can drop a repeated line
    assert tags.pop("output_offset").isdecimal()
    assert tags == {
        "origin": "rep", "source_type": "APP", "source_id": "app-guid", "instance_id": "0",
    }  # fmt: skip

    by_name = {name: one for one in envelopes for name in one.gauge.metrics}
    usage = by_name["cpu"]
    assert (usage.source_id, usage.tags["origin"]) == ("app-guid", "rep")
    assert usage.gauge.metrics["memory_quota"].value == 32 << 20
    assert "cpu_entitlement" not in by_name
    assert "container_age" in by_name
    assert by_name["log_rate_limit"].gauge.metrics["log_rate_limit"].unit == "B/s"
    capacity = by_name["CapacityTotalMemory"]
    assert (capacity.source_id, capacity.instance_id) == ("rep", "cell-index")
    assert dict(capacity.tags) == {"origin": "rep", "zone": "z7"}
    assert "request-type" in by_name["RequestsStarted"].tags
    assert "GardenContainerCreationSucceededDuration" in by_name

    async with asyncio.timeout(20):
        while not (message := await syslog[1].get()).endswith(b" hello"):
            pass
    assert message.startswith(b"<14>1 ")
    assert b" app-guid [APP/0] - [tags@47450 " in message
    lines = [json.loads(text) for text in (tmp_path / "apps.log").read_text().splitlines()]
    assert [one["source_type"] for one in lines if one["message"] == "hello"] == ["APP"]
    await cell.receptor.expect(204, "DELETE", "/v1/desired_lrps/teller")
