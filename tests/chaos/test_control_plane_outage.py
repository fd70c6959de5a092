"""Outages of the control plane of every kind: no instance restarts, and no outcome is lost.

The plane itself goes on here, out of the cell's reach. It does not converge, as one that is gone would not: a
convergence without the cell's presence fails its Tasks, which is the protocol's rule for a cell that is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task, TaskDefinition, TaskState
from cell.development.local import local_cell
from cell.development.slots import take_slots
from common.tasks import running
from tests.support.faults import FaultProxy, Status
from tests.support.instances import UNTIL_ASKED, end
from tests.support.local_reps import QUICK, LocalRep
from tests.support.relays import Relay
from tests.support.thorough import THOROUGH
from tests.support.waiting import until_so

pytestmark = [pytest.mark.docker, pytest.mark.alone]

OUTAGE_S = 30.0 if THOROUGH else 3.0
PRESENCE_S = 2
"""Outages are longer than the presence of the cell lasts."""
PROMISE_S = 2.0
"""From the return of the control plane to its record of every outcome."""
BUSY_S = 10.0
"""The same beside other programs of the machine."""
APPS, TASKS = ("web-0", "web-1", "web-2"), 5


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


async def test_an_outage_restarts_nothing_and_loses_no_outcome(tmp_path: Path) -> None:
    async with (
        local_cell(tmp_path, arguments=["--cells", "0", "--convergence-interval", "3600"]) as plane,
        Way.to(plane.endpoints["bbs"], plane.endpoints["locket"]) as way,
        HTTPBBSClient(plane.endpoints["bbs"]) as bbs,
    ):
        with take_slots(1) as (slot,):
            settings = {
                **QUICK,
                "lock_ttl": f"{PRESENCE_S}s",
                "bbs_address": f"http://{way.bbs.address}",
                "locket_address": way.locket.address,
            }
            rep = LocalRep(plane, slot, tmp_path / slot.cell_id, settings=settings)
            async with rep.running():
                await bbs.upsert_domain("d", 0)
                outage = Outage(bbs, way)
                for guid in APPS:
                    await bbs.desire_lrp(lrp(guid))
                for how in ("refused", "hangs", "errors"):
                    await outage.happens(how)
                for guid in APPS:
                    await bbs.remove_desired_lrp(guid)


@dataclass
class Outage:
    """An outage of some kind after another, each with its own Tasks and its own app that crashes."""

    bbs: HTTPBBSClient
    way: Way

    async def happens(self, how: str) -> None:
        """One outage, and what must be true after it."""
        bbs, crasher, tasks = self.bbs, f"crasher-{how}", [f"sum-{how}-{n}" for n in range(TASKS)]

        # Without convergence, work that finds no cell is not placed again: the presence must be there.
        async def registered() -> bool:
            return bool(await bbs.cells())

        await until_so(registered)
        await bbs.desire_lrp(lrp(crasher))
        for guid in tasks:
            await bbs.desire_task(guid, "d", task(guid))

        async def all_run() -> bool:
            rows, states = await self._rows(), {each.state for each in await self._tasks(tasks)}
            return {row.state for row in rows.values()} == {"RUNNING"} and states == {TaskState.Running}

        await until_so(all_run)
        before = await self._rows()
        seen: Counter[str] = Counter()
        async with running(completions(bbs, seen), "count of completions"):
            async with self.way.blocked(how):
                for guid in (before[crasher].actual_lrp_instance_key.instance_guid, *tasks):
                    await asyncio.to_thread(end, guid)
                await asyncio.sleep(OUTAGE_S)
            back_at = time.monotonic()

            async def all_recorded() -> bool:
                ended = {each.state for each in await self._tasks(tasks)} == {TaskState.Completed}
                return ended and (await self._rows())[crasher].crash_count == 1

            await until_so(all_recorded)
            took_s = time.monotonic() - back_at

            async def as_before() -> bool:
                now = await self._rows()
                return all(
                    now[guid].actual_lrp_instance_key == before[guid].actual_lrp_instance_key
                    and now[guid].state == "RUNNING"
                    and now[guid].presence == before[guid].presence
                    for guid in APPS
                )

            await until_so(as_before)
        for each in await self._tasks(tasks):
            assert (each.failed, each.result) == (False, f"result of {each.task_guid}"), how
        assert seen == Counter(tasks), f"{how}: each Task completes once"
        assert (await self._rows())[crasher].crash_count == 1, how
        assert took_s < (PROMISE_S if THOROUGH else BUSY_S), (
            f"{how}: all outcomes are recorded {took_s:.2f} s after the return"
        )
        await bbs.remove_desired_lrp(crasher)
        for guid in tasks:
            await bbs.resolving_task(guid)
            await bbs.delete_task(guid)

        async def removed() -> bool:
            return (await self._rows()).keys() == set(APPS)

        await until_so(removed)

    async def _rows(self) -> dict[str, ActualLRP]:
        return {row.actual_lrp_key.process_guid: row for row in await self.bbs.actual_lrps(domain="d")}

    async def _tasks(self, guids: Collection[str]) -> list[Task]:
        return [each for each in await self.bbs.tasks(domain="d") if each.task_guid in guids]
