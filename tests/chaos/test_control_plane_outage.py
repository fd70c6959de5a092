"""Outages of the control plane of every kind: no instance restarts, and no outcome is lost.

The plane itself goes on here, out of the cell's reach. It does not converge, as one that is gone would not: a
convergence without the cell's presence fails its Tasks, which is the protocol's rule for a cell that is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import TaskDefinition, TaskState
from cell.development.local import local_cell
from cell.development.slots import take_slots
from tests.support.faults import FaultProxy, Status
from tests.support.instances import UNTIL_ASKED, end
from tests.support.local_reps import QUICK, LocalRep
from tests.support.relays import Relay
from tests.support.thorough import THOROUGH
from tests.support.waiting import until_so

pytestmark = [pytest.mark.docker, pytest.mark.alone]

OUTAGE_S = 30.0 if THOROUGH else 8.0
"""Longer than the presence of the cell lasts."""
PROMISE_S = 2.0
"""From the return of the control plane to its record of every outcome."""
APPS, TASKS = 3, 5


class Way:
    """The way of a cell to its control plane."""

    def __init__(self, bbs: FaultProxy, bbs_relay: Relay, locket: Relay) -> None:
        self.proxy, self.bbs, self.locket = bbs, bbs_relay, locket

    @classmethod
    @asynccontextmanager
    async def to(cls, bbs_url: str, locket: str) -> AsyncIterator[Way]:
        async with (
            FaultProxy.before_server(bbs_url) as proxy,
            Relay.before(urlsplit(proxy.url).netloc) as bbs_relay,
            Relay.before(locket) as locket_relay,
        ):
            yield cls(proxy, bbs_relay, locket_relay)

    @asynccontextmanager
    async def blocked(self, how: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            match how:
                case "refused":
                    await stack.enter_async_context(self.bbs.refusing())
                    await stack.enter_async_context(self.locket.refusing())
                case "hangs":
                    stack.enter_context(self.bbs.hanging())
                    stack.enter_context(self.locket.hanging())
                case "errors":
                    stack.enter_context(self.proxy.fault(".*", Status(500)))
            yield


def lrp(process_guid: str) -> DesiredLRP:
    return DesiredLRP(
        process_guid=process_guid,
        domain="d",
        root_fs="preloaded:busybox",
        instances=1,
        memory_mb=16,
        metric_tags={"source_id": MetricTagValue(static=process_guid)},
        action=RunAction(path="sh", args=("-c", f"{UNTIL_ASKED} exit 7"), user="root"),
    )


def task(guid: str) -> TaskDefinition:
    script = f"{UNTIL_ASKED} echo -n 'result of {guid}' > /tmp/result"
    return TaskDefinition(
        root_fs="preloaded:busybox",
        memory_mb=16,
        action=RunAction(path="sh", args=("-c", script), user="root"),
        result_file="/tmp/result",
    )


async def completions(bbs: HTTPBBSClient, seen: Counter[str]) -> None:
    """Count how often each Task becomes completed, until cancelled."""
    async with bbs.task_events() as events:
        async for event in events:
            after = getattr(event, "after", None)
            if after is not None and after.state is TaskState.Completed:
                seen[after.task_guid] += 1


@pytest.mark.parametrize("how", ["refused", "hangs", "errors"])
async def test_an_outage_restarts_nothing_and_loses_no_outcome(tmp_path: Path, how: str) -> None:
    apps, tasks = [f"web-{n}" for n in range(APPS)], [f"sum-{n}" for n in range(TASKS)]
    async with (
        local_cell(tmp_path, arguments=["--cells", "0", "--convergence-interval", "3600"]) as plane,
        Way.to(plane.endpoints["bbs"], plane.endpoints["locket"]) as way,
        HTTPBBSClient(plane.endpoints["bbs"]) as bbs,
        asyncio.TaskGroup() as group,
    ):
        with take_slots(1) as (slot,):
            addresses = {"bbs_address": f"http://{way.bbs.address}", "locket_address": way.locket.address}
            rep = LocalRep(plane, slot, tmp_path / slot.cell_id, settings={**QUICK, **addresses})
            async with rep.running():
                await bbs.upsert_domain("d", 0)
                for guid in (*apps, "crasher"):
                    await bbs.desire_lrp(lrp(guid))
                for guid in tasks:
                    await bbs.desire_task(guid, "d", task(guid))

                async def rows() -> dict[str, ActualLRP]:
                    return {row.actual_lrp_key.process_guid: row for row in await bbs.actual_lrps(domain="d")}

                async def all_run() -> bool:
                    states = {row.state for row in (await rows()).values()}
                    return states == {"RUNNING"} and {each.state for each in await bbs.tasks(domain="d")} == {
                        TaskState.Running
                    }

                await until_so(all_run)
                before = await rows()
                seen: Counter[str] = Counter()
                counting = group.create_task(completions(bbs, seen))
                async with way.blocked(how):
                    for guid in (before["crasher"].actual_lrp_instance_key.instance_guid, *tasks):
                        await asyncio.to_thread(end, guid)
                    await asyncio.sleep(OUTAGE_S)
                back_at = time.monotonic()

                async def all_recorded() -> bool:
                    ended = {each.state for each in await bbs.tasks(domain="d")} == {TaskState.Completed}
                    return ended and (await rows())["crasher"].crash_count == 1

                await until_so(all_recorded)
                took_s = time.monotonic() - back_at
                print(f"{how}: all outcomes are recorded {took_s:.2f} s after the return")
                for each in await bbs.tasks(domain="d"):
                    assert (each.failed, each.result) == (False, f"result of {each.task_guid}")

                async def as_before() -> bool:
                    now = await rows()
                    return all(
                        now[guid].actual_lrp_instance_key == before[guid].actual_lrp_instance_key
                        and now[guid].state == "RUNNING"
                        and now[guid].presence == before[guid].presence
                        for guid in apps
                    )

                await until_so(as_before)
                counting.cancel()
                assert seen == Counter(tasks), "each Task completed once"
                assert (await rows())["crasher"].crash_count == 1
                assert took_s < PROMISE_S
                for guid in (*apps, "crasher"):
                    await bbs.remove_desired_lrp(guid)
