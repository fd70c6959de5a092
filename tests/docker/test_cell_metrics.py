"""Metrics and traces of a real cell: an instance is started and removed, and both show how it went."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cell.assembly.catalogue import ALL
from cell.development.local import LocalCell, local_cell
from executor.telemetry.families import ENGINE_OPERATIONS, STAGES
from tests.support.otlp import Receiver, attributes, receiver
from tests.support.waiting import until, until_so

pytestmark = pytest.mark.docker

APP = {
    "process_guid": "scraped-app",
    "domain": "metrics",
    "rootfs": "preloaded:busybox",
    "instances": 1,
    "ports": [8080],
    "action": {
        "run": {"path": "/bin/sh", "args": ["-c", "echo hello; exec httpd -f -p 8080"], "user": "root"}
    },
    "monitor": {"run": {"path": "/bin/true", "user": "root"}},
    "memory_mb": 32,
    "disk_mb": 32,
    "log_guid": "app-guid",
}
SCRAPE_ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"


@pytest.fixture
async def traces() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


@pytest.fixture
async def cell(tmp_path: Path, traces: Receiver) -> AsyncIterator[LocalCell]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with local_cell(tmp_path / "state", environment=environment) as running:
        yield running


async def scraped(cell: LocalCell, accept: str = "") -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{cell.cells[0]['admin']}/metrics", headers={"Accept": accept}) as answer,
    ):
        assert answer.status == 200
        return await answer.text()


def number(text: str, series: str) -> float:
    """The value of a series; 0 if it does not exist yet."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_a_scrape_and_a_trace_show_the_life_of_an_instance(cell: LocalCell, traces: Receiver) -> None:
    await cell.receptor.expect(201, "POST", "/v1/desired_lrps", APP)
    await cell.receptor.running("scraped-app")
    text = await scraped(cell)
    stage = "diego_cell_container_start_stage_duration_seconds_count"
    for name in STAGES:
        assert number(text, f'{stage}{{outcome="succeeded",stage="{name}"}}') == 1, name
    assert number(text, "diego_cell_container_start_duration_seconds_count") == 1
    assert number(text, 'diego_cell_containers{state="running"}') == 1
    assert number(text, "diego_cell_allocated_memory_bytes") == 32 << 20
    call = "diego_cell_engine_call_duration_seconds_count"
    assert number(text, f'{call}{{operation="start_process",outcome="succeeded"}}') >= 2
    bbs = "diego_cell_bbs_call_duration_seconds_count"
    assert number(text, f'{bbs}{{call="/v1/actual_lrps/claim",outcome="succeeded"}}') >= 1
    assert number(text, 'diego_cell_auctioned_work_total{kind="lrp",result="accepted"}') == 1
    assert number(text, "diego_cell_spool_streams") >= 2
    assert number(text, "diego_cell_healthy") == number(text, "diego_cell_presence_held") == 1

    async def heard() -> bool:
        return number(await scraped(cell), "diego_cell_app_log_lines_total") >= 1

    await until_so(heard)
    await cell.receptor.expect(204, "DELETE", "/v1/desired_lrps/scraped-app")

    async def removed() -> bool:
        done = "diego_cell_container_destruction_duration_seconds_count"
        return number(await scraped(cell), f'{done}{{outcome="succeeded"}}') == 1

    await until_so(removed)
    openmetrics = await scraped(cell, SCRAPE_ACCEPT)
    assert openmetrics.endswith("# EOF\n")
    known = {family.name.removesuffix("_total") for family in ALL}
    families = set(re.findall(r"^# TYPE (diego_cell\S+)", openmetrics, re.MULTILINE))
    assert families - known == set()
    assert "app-guid" not in openmetrics
    assert "scraped-app" not in openmetrics
    operations = set(re.findall(r'operation="(\w+)"', openmetrics))
    assert operations <= set(ENGINE_OPERATIONS)

    await until(lambda: traces.named("remove"))
    of_instance = {span.trace_id for span in traces.named("remove")}
    spans = [span for span in traces.spans if {span.trace_id} == of_instance]
    assert {"container", "run", *STAGES} <= {span.name for span in spans}
    [root] = [span for span in spans if span.name == "container"]
    assert attributes(root)["diego.process_guid"] == "scraped-app"
