"""The whole agent: order of start and end, seen by peers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bbs.models.actions import RunAction
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from bbs.models.locket import Resource, TypeCode
from executor.model import Container, ContainerState, EventKind, RunResult
from rep.agent import rep_url
from rep.config import RepConfig
from rep.reconcile.consumer import EventStreamEnded
from tests.support.rep_agents import Running
from tests.support.rep_doubles import lrp_container
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor, FakeLocket, RecordedMetrics, ScriptedBBS

pytestmark = pytest.mark.unit

S = ContainerState


@pytest.fixture
async def cell(
    executor: FakeExecutor, bbs: ScriptedBBS, locket: FakeLocket, metrics: RecordedMetrics
) -> Running:
    return Running(executor, bbs, locket, metrics)


async def test_work_is_reserved_claimed_run_started_and_removed(cell: Running) -> None:
    executor, bbs = cell.executor, cell.bbs
    bbs.defaults["desired_lrp"] = DesiredLRP(process_guid="web", action=RunAction(path="/app"))
    async with cell.running():
        lrp = {"process_guid": "web", "index": 0, "domain": "apps", "MemoryMB": 10}
        assert await cell.ask("network", "POST", "/work", {"LRPs": [lrp]}) == (
            200,
            b'{"LRPs":null,"Tasks":null}\n',
        )
        (reserved,) = executor.containers()
        await until(lambda: executor.containers()[0].state is S.INITIALIZING)
        assert bbs.calls == ["claim_actual_lrp", "desired_lrp"]
        running = Container(
            guid=reserved.guid, state=S.RUNNING, tags=reserved.tags, external_ip="192.0.2.1", routable=True
        )
        executor.tell(EventKind.RUNNING, running)
        await until(lambda: bbs.calls[2:] == ["start_actual_lrp"])
        stopped = Container(
            guid=reserved.guid, state=S.COMPLETED, tags=reserved.tags, run_result=RunResult(stopped=True)
        )
        executor.tell(EventKind.COMPLETE, stopped)
        await until(lambda: not executor.store)
        assert bbs.calls[3:] == ["remove_actual_lrp"]


async def test_nothing_listens_before_the_presence_is_held(cell: Running) -> None:
    cell.locket.held["cell-1"] = Resource(key="cell-1", owner="before", type_code=TypeCode.PRESENCE)
    task = asyncio.create_task(cell.agent.run())
    await until(lambda: len(cell.locket.calls) > 3)
    with pytest.raises(RuntimeError, match="does not listen yet"):
        await cell.ask("admin", "GET", "/ping")
    cell.locket.held.clear()
    await cell.agent.ready.wait()
    assert (await cell.ask("admin", "GET", "/ping"))[0] == 200
    cell.agent.stop()
    await task


async def test_the_debug_server_knows_the_log_level_only(cell: Running) -> None:
    async with cell.running():
        status, _ = await cell.ask("debug", "GET", "/log-level")
        assert status == 200
        assert (await cell.ask("debug", "GET", "/ping"))[0] == 404


async def test_a_stop_cleans_up_before_the_listeners_close_and_the_presence_goes(cell: Running) -> None:
    async with cell.running() as task:
        cell.executor.put(lrp_container(S.RUNNING))
        gate = cell.executor.gates["delete"] = asyncio.Event()
        cell.agent.stop()
        await until(lambda: [call[0] for call in cell.executor.calls] == ["delete"])
        assert (await cell.ask("admin", "GET", "/ping"))[0] == 200
        assert "cell-1" in cell.locket.held
        gate.set()
        await task
    assert cell.executor.store == {}
    assert cell.locket.held == {}
    assert cell.bbs.calls == ["actual_lrps"]
    with pytest.raises(aiohttp.ClientConnectorError):
        await cell.ask("admin", "GET", "/ping")


async def test_events_during_the_clean_up_do_not_reach_the_bbs(cell: Running) -> None:
    async with cell.running() as task:
        cell.executor.put(lrp_container(S.RUNNING))
        gate = cell.executor.gates["delete"] = asyncio.Event()
        cell.agent.stop()
        await until(lambda: [call[0] for call in cell.executor.calls] == ["delete"])
        cell.executor.tell(EventKind.COMPLETE, lrp_container(S.COMPLETED))
        gate.set()
        await task
    assert cell.bbs.calls == ["actual_lrps"]


async def test_cancellation_is_an_orderly_end_too(cell: Running) -> None:
    async with cell.running() as task:
        cell.executor.put(lrp_container(S.RUNNING))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert cell.executor.store == {}
    assert cell.locket.held == {}


async def test_a_clean_up_that_fails_is_the_result_of_the_run(cell: Running) -> None:
    async with cell.running() as task:
        cell.bbs.answers["actual_lrps"] = [BBSError(ErrorType.Timeout)]
        cell.agent.stop()
        with pytest.raises(ExceptionGroup) as caught:
            await task
    assert caught.value.exceptions == (BBSError(ErrorType.Timeout),)
    assert cell.locket.held == {}


async def test_a_member_that_fails_ends_the_agent_in_order(cell: Running) -> None:
    async with cell.running() as task:
        cell.executor.end_events()
        with pytest.raises(ExceptionGroup) as caught:
            await task
    assert [type(error) for error in caught.value.exceptions] == [EventStreamEnded]
    assert cell.bbs.calls == ["actual_lrps"]
    assert cell.locket.held == {}


async def test_an_evacuation_runs_until_the_cell_is_empty(cell: Running) -> None:
    cell.bbs.answers["evacuate_running_actual_lrp"] = [True, True, False]
    async with cell.running() as task:
        cell.executor.put(lrp_container(S.RUNNING))
        assert (await cell.ask("admin", "POST", "/evacuate"))[0] == 202
        assert json.loads((await cell.ask("network", "GET", "/state"))[1])["Evacuating"] is True
        await task
    assert cell.executor.store == {}
    assert cell.bbs.calls.count("evacuate_running_actual_lrp") == 3
    assert cell.locket.held == {}


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (
            RepConfig(cell_id="a_b", advertise_domain="cell.internal", listen_addr_securable="0.0.0.0:1801"),
            "https://a-b.cell.internal:1801",
        ),
        (RepConfig(cell_id="a", rep_url="http://127.0.0.1:5"), "http://127.0.0.1:5"),
    ],
)
def test_the_url_of_a_cell(config: RepConfig, url: str) -> None:
    assert rep_url(config) == url


async def test_a_stop_is_announced_before_it_begins(cell: Running) -> None:
    """The end of an evacuation is one as well; the process then has a deadline."""
    announced: list[bool] = []
    async with cell.running() as task:
        cell.agent.on_end = lambda _how: announced.append(task.done())
        assert (await cell.ask("admin", "POST", "/evacuate"))[0] == 202
        await task
        assert announced == [False]
