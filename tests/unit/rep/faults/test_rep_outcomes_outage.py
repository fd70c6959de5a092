"""The BBS is away while an instance crashes and a Task ends, and the rep is killed before the BBS returns."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.client.transport import Policy
from bbs.embedded.service import BBS, run_bbs
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, RunningData
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task, TaskDefinition, TaskState
from executor.journal.sqlite import SQLiteJournal
from executor.model import Container, ContainerState, EventKind, Resources, RunResult
from rep import tags
from rep.agent import RepAgent
from rep.server import listening
from tests.support.rep_doubles import FakeExecutor, FakeLocket, agent_config
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from typing import Any

pytestmark = pytest.mark.unit

CELL = "cell-1"
INSTANCE, TASK = "11111111-2222-3333-4444-5555", "task-1"
KEY = ActualLRPKey(process_guid="web", index=0, domain="apps")
INSTANCE_KEY = ActualLRPInstanceKey(instance_guid=INSTANCE, cell_id=CELL)
ACTION = RunAction(path="/web", user="vcap")
CRASH = RunResult(failed=True, failure_reason="APP: Exited with status 7")


class NoAuctions:
    """Nothing is placed again, so that the records stay as the cell's reports made them."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        async def ignore(*arguments: object, **options: object) -> None: ...

        return ignore


class Outage:
    """A BBS that can be away, and the records of one instance and one Task."""

    def __init__(self, bbs: BBS, folder: Path) -> None:
        self.bbs, self.folder = bbs, folder
        self.port = 0
        self.requests: list[str] = []

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        """The BBS answers while inside."""
        async with listening(self.bbs.app, f"127.0.0.1:{self.port}", None) as address:
            self.port = address.port
            yield

    async def work_begins(self) -> None:
        """The records of work that runs on the cell."""
        controllers = self.bbs.controllers
        desired = DesiredLRP(
            process_guid="web", domain="apps", root_fs="docker:///x", instances=1, action=ACTION
        )
        await controllers.desired.desire(desired, "")
        async with HTTPBBSClient(f"http://127.0.0.1:{self.port}") as client:
            await client.claim_actual_lrp(KEY, INSTANCE_KEY)
            await client.start_actual_lrp(
                KEY, INSTANCE_KEY, RunningData(net_info=ActualLRPNetInfo(address="192.0.2.1"))
            )
            definition = TaskDefinition(root_fs="docker:///x", action=ACTION, result_file="/result")
            await client.desire_task(TASK, "apps", definition)
            assert await client.start_task(TASK, CELL)

    async def records(self) -> tuple[ActualLRP, Task]:
        store = self.bbs.controllers.deps.store
        (row,) = await store.run(lambda tables: tables.actual_lrps(process_guid="web"))
        return row, await store.run(lambda tables: tables.task(TASK))

    @asynccontextmanager
    async def rep(self, executor: FakeExecutor, journal: Path) -> AsyncIterator[RepAgent]:
        """One process of the rep; what it says at its end does not matter, it is killed."""
        url = f"http://127.0.0.1:{self.port}"
        policy = Policy(attempts=1, dial_timeout_s=1)
        async with (
            SQLiteJournal(journal) as opened,
            HTTPBBSClient(url, policy=policy) as client,
        ):
            agent = RepAgent(agent_config(bbs_address=url), executor, client, FakeLocket(), opened)
            running = asyncio.create_task(agent.run())
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await agent.ready.wait()
                yield agent
            finally:
                agent.stop()
                with suppress(ExceptionGroup):  # the clean-up of an ordered end misses the BBS
                    await running


@pytest.fixture
async def outage(tmp_path: Path) -> AsyncIterator[Outage]:
    idle: Any = NoAuctions()
    async with run_bbs(tmp_path / "bbs", auctioneer=idle, reps=idle, callbacks=idle) as bbs:
        yield Outage(bbs, tmp_path)


def an_executor() -> FakeExecutor:
    return FakeExecutor(Resources(memory_mb=100, disk_mb=100, containers=9))


def with_work() -> FakeExecutor:
    executor = an_executor()
    executor.put(
        Container(
            guid=INSTANCE,
            state=ContainerState.RUNNING,
            external_ip="192.0.2.1",
            tags=tags.lrp_tags(KEY, INSTANCE, None, None),
        ),
        Container(
            guid=TASK,
            state=ContainerState.RUNNING,
            tags={**tags.task_tags("apps", None, None), tags.RESULT_FILE: "/result"},
        ),
    )
    executor.files["/result"] = b"42"
    return executor


def end(executor: FakeExecutor, guid: str, result: RunResult) -> None:
    ended = replace(executor.container(guid), state=ContainerState.COMPLETED, run_result=result)
    executor.tell(EventKind.COMPLETE, ended)


async def recorded(outage: Outage) -> float:
    """Seconds until the BBS has both records."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(PATIENCE_S):
        for _ in itertools.count():
            row, task = await outage.records()
            if row.state != "RUNNING" and task.state is not TaskState.Running:
                return asyncio.get_running_loop().time() - began
            await asyncio.sleep(0.01)
    raise AssertionError


async def check(outage: Outage) -> None:
    row, task = await outage.records()
    assert (row.state, row.crash_count, row.crash_reason) == ("UNCLAIMED", 1, CRASH.failure_reason)
    assert (task.state, task.failed, task.failure_reason, task.result) == (
        TaskState.Completed,
        False,
        "",
        "42",
    )


async def outcomes(agent: RepAgent) -> Any:
    address = agent.listeners.admin
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address.host}:{address.port}/outcomes") as answer,
    ):
        return await answer.json(content_type=None)


async def test_an_outage_costs_only_time(outage: Outage) -> None:
    """The crash was lost, and the Task that had succeeded failed with `task container does not exist`."""
    executor = with_work()
    async with outage.present():
        await outage.work_begins()
    async with outage.rep(executor, outage.folder / "journal") as agent:
        end(executor, INSTANCE, CRASH)
        end(executor, TASK, RunResult())
        await until(lambda: not executor.store)
        waiting = await outcomes(agent)
        assert waiting["bbs_available"] is False
        assert [row["report"] for row in waiting["outcomes"]] == ["CrashActualLRP", "CompleteTask"]
        async with outage.present():
            assert await recorded(outage) < 2
            await check(outage)
            assert (await outcomes(agent))["outcomes"] == []


async def test_a_rep_killed_during_an_outage_reports_what_its_predecessor_saw(outage: Outage) -> None:
    executor, left = with_work(), outage.folder / "left by the kill"
    async with outage.present():
        await outage.work_begins()
    async with outage.rep(executor, outage.folder / "journal"):
        end(executor, INSTANCE, CRASH)
        end(executor, TASK, RunResult())
        await until(lambda: not executor.store)
        # a kill leaves the files as they are now; this process goes on to an end of no consequence
        await asyncio.to_thread(shutil.copytree, outage.folder / "journal", left)
    async with outage.rep(an_executor(), left) as agent:
        assert len((await outcomes(agent))["outcomes"]) == 2
        async with outage.present():
            assert await recorded(outage) < 2
            await check(outage)
            assert (await outcomes(agent))["outcomes"] == []


async def test_an_app_that_ends_well_on_a_leaving_cell_holds_up_no_evacuation(outage: Outage) -> None:
    """The BBS refuses the report of a crash without a reason."""
    executor = with_work()
    async with outage.present():
        await outage.work_begins()
        async with outage.rep(executor, outage.folder / "journal") as agent:
            del executor.store[TASK]
            evacuated = asyncio.Event()
            agent.on_end = lambda _how: evacuated.set()
            agent.evacuation.set()
            await until(lambda: bool(executor.logged))
            end(executor, INSTANCE, RunResult())
            await until(lambda: not executor.store)
            async with asyncio.timeout(PATIENCE_S):
                await evacuated.wait()
