"""A cell is killed during an outage of its BBS: the BBS then records how its containers ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import TaskDefinition, TaskState
from cell.development.local import local_cell
from cell.development.slots import take_slots
from tests.support.instances import UNTIL_ASKED, end
from tests.support.local_reps import QUICK, LocalRep
from tests.support.relays import Relay
from tests.support.waiting import until_so

pytestmark = pytest.mark.docker


@asynccontextmanager
async def a_cell(folder: Path) -> AsyncIterator[tuple[LocalRep, Relay, HTTPBBSClient]]:
    """A cell that reaches its BBS by the relay; the test reaches it directly."""
    # no convergence: the records stay as the cell's reports make them
    arguments = ["--cells", "0", "--convergence-interval", "3600"]
    async with local_cell(folder, arguments=arguments) as plane:
        address = urlsplit(plane.endpoints["bbs"]).netloc
        async with Relay.before(address) as relay:
            with take_slots(1) as (slot,):
                settings = {**QUICK, "bbs_address": f"http://{relay.address}"}
                rep = LocalRep(plane, slot, folder / slot.cell_id, settings=settings)
                async with rep.running(), HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                    yield rep, relay, bbs


async def waiting(rep: LocalRep) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{rep.admin}/outcomes") as answer:
        rows: list[dict[str, Any]] = (await answer.json(content_type=None))["outcomes"]
        return rows


async def test_a_cell_killed_during_an_outage_reports_how_its_containers_ended(tmp_path: Path) -> None:
    async with a_cell(tmp_path) as (rep, relay, bbs):
        await bbs.desire_lrp(
            DesiredLRP(
                process_guid="web",
                domain="d",
                root_fs="preloaded:busybox",
                instances=1,
                metric_tags={"source_id": MetricTagValue(static="web")},
                action=RunAction(path="sh", args=("-c", f"{UNTIL_ASKED} exit 7"), user="root"),
            )
        )
        definition = TaskDefinition(
            root_fs="preloaded:busybox",
            action=RunAction(path="sh", args=("-c", f"{UNTIL_ASKED} echo -n 42 > /tmp/result"), user="root"),
            result_file="/tmp/result",
        )
        await bbs.desire_task("outage-sum", "d", definition)

        async def both_run() -> bool:
            (row,) = await bbs.actual_lrps(process_guid="web")
            task = await bbs.task("outage-sum")
            return row.state == "RUNNING" and task.state is TaskState.Running

        await until_so(both_run)
        (row,) = await bbs.actual_lrps(process_guid="web")

        async def both_wait() -> bool:
            return {each["report"] for each in await waiting(rep)} == {"CrashActualLRP", "CompleteTask"}

        async with relay.refusing():
            for guid in (row.actual_lrp_instance_key.instance_guid, "outage-sum"):
                await asyncio.to_thread(end, guid)
            await until_so(both_wait)
            await rep.kill()
            await rep.start()
            assert await both_wait()

        async def both_recorded() -> bool:
            return await waiting(rep) == []

        await until_so(both_recorded)
        (row,) = await bbs.actual_lrps(process_guid="web")
        assert (row.crash_count, row.crash_reason.rpartition(": ")[2]) == (1, "Exited with status 7")
        task = await bbs.task("outage-sum")
        assert (task.state, task.failed, task.result) == (TaskState.Completed, False, "42")
        await bbs.remove_desired_lrp("web")
