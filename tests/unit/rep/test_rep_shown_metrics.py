"""What the rep shows to Prometheus on its admin listener."""

from __future__ import annotations

import asyncio
import re
from typing import cast

import pytest

from bbs.client.api import BBSClient
from bbs.models.errors import BBSError, ErrorType
from common.metrics.instruments import Instruments
from rep.agent import RepAgent
from tests.support.journals import FailingJournal, Rows
from tests.support.rep_agents import Running
from tests.support.rep_doubles import (
    FakeExecutor,
    FakeLocket,
    RecordedMetrics,
    ScriptedBBS,
    agent_config,
    lrp_container,
)

pytestmark = pytest.mark.unit


class Watched(Running):
    """A running agent, and what a scrape of it shows."""

    def begin(self, *, same_boot: bool = True, **keys: str) -> None:
        super().begin(same_boot=same_boot, **keys)
        self.agent = RepAgent(
            agent_config(debug_address="", **keys),
            self.executor,
            cast(BBSClient, self.bbs),
            self.locket,
            FailingJournal(Rows(), same_boot=same_boot),
            metrics=self.metrics,
            instruments=Instruments(),
            presence_retry_s=0.01,
        )

    async def scraped(self) -> dict[str, float]:
        status, body = await self.ask("admin", "GET", "/metrics")
        assert status == 200
        lines = re.findall(r"^(diego_cell_\S+) (\S+)$", body.decode(), re.MULTILINE)
        return {name: float(value) for name, value in lines}


@pytest.fixture
async def running(
    executor: FakeExecutor, bbs: ScriptedBBS, locket: FakeLocket, metrics: RecordedMetrics
) -> Watched:
    return Watched(executor, bbs, locket, metrics)


async def test_requests_and_passes_and_the_presence(running: Watched) -> None:
    async with running.running():
        await running.ask("network", "GET", "/state")
        await running.ask("network", "POST", "/sim/reset")
        shown = await running.scraped()
    assert shown['diego_cell_requests_started_total{request_type="State"}'] == 1
    assert shown['diego_cell_requests_total{outcome="succeeded",request_type="State"}'] == 1
    assert shown['diego_cell_requests_total{outcome="failed",request_type="Reset"}'] == 1
    assert shown['diego_cell_request_duration_seconds_count{request_type="State"}'] == 1
    assert shown['diego_cell_requests_in_flight{request_type="Perform"}'] == 0
    assert shown['diego_cell_bulk_pass_duration_seconds_count{outcome="succeeded"}'] == 1
    assert shown["diego_cell_bulk_pass_last_success_timestamp_seconds"] > 1e9
    assert shown["diego_cell_presence_held"] == 1
    assert shown['diego_cell_presence_renewal_duration_seconds_count{outcome="succeeded"}'] >= 1
    assert (shown["diego_cell_evacuating"], shown["diego_cell_outcomes_waiting"]) == (0, 0)


async def test_offered_work_is_counted_by_what_became_of_it(running: Watched) -> None:
    work = {
        "cell_id": agent_config().cell_id,
        "LRPs": [
            {"process_guid": "web", "index": index, "domain": "d", "RootFs": "docker:///x", "MemoryMB": size}
            for index, size in enumerate((600, 600, 300))
        ],
        "Tasks": [{"TaskGuid": "t", "Domain": "d", "RootFs": "docker:///x", "MemoryMB": 1}],
    }
    async with running.running():
        await running.ask("network", "POST", "/work", work)
        shown = await running.scraped()
    found = {
        (kind, result): shown[f'diego_cell_auctioned_work_total{{kind="{kind}",result="{result}"}}']
        for kind in ("lrp", "task")
        for result in ("accepted", "refused")
    }
    assert found == {
        ("lrp", "accepted"): 2,
        ("lrp", "refused"): 1,
        ("task", "accepted"): 1,
        ("task", "refused"): 0,
    }


async def test_a_pass_that_failed(running: Watched) -> None:
    running.bbs.answers["actual_lrps"] = [BBSError(ErrorType.UnknownError, "no")]
    async with running.running():
        shown = await running.scraped()
    assert shown['diego_cell_bulk_pass_duration_seconds_count{outcome="failed"}'] == 1
    assert "diego_cell_bulk_pass_last_success_timestamp_seconds" not in shown


async def test_an_evacuation(running: Watched) -> None:
    running.executor.put(lrp_container())
    running.executor.gates["delete"] = asyncio.Event()  # the evacuation waits for it
    async with running.running():
        await running.ask("admin", "POST", "/evacuate")
        shown = await running.scraped()
        running.executor.gates["delete"].set()
    assert shown["diego_cell_evacuating"] == 1
