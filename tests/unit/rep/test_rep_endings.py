"""How a rep ends, and what the next process of the cell makes of it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from bbs.models.actions import RunAction
from bbs.models.locket import Resource, TypeCode
from bbs.models.task import Task, TaskDefinition
from executor.model import ContainerState
from rep import ending
from rep.ending import Ending
from rep.facts import EVACUATION_BEGUN
from rep.reconcile.consumer import EventStreamEnded
from tests.support.rep_agents import Running
from tests.support.rep_doubles import lrp_container, task_container
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor, FakeLocket, RecordedMetrics, ScriptedBBS

pytestmark = pytest.mark.unit

S = ContainerState
OTHER = Resource(key="cell-1", owner="another", type_code=TypeCode.PRESENCE)


@pytest.fixture
async def cell(
    executor: FakeExecutor, bbs: ScriptedBBS, locket: FakeLocket, metrics: RecordedMetrics
) -> Running:
    return Running(executor, bbs, locket, metrics)


@pytest.mark.parametrize(
    ("on_stop", "request_", "during_evacuation", "failure"),
    [
        ("hand-over", "hand-over", "hand-over", "hand-over"),
        ("evacuate", "evacuate", "destroy", "hand-over"),
        ("destroy", "destroy", "destroy", "destroy"),
    ],
)
def test_what_an_end_means(on_stop: str, request_: str, during_evacuation: str, failure: str) -> None:
    configured = Ending(on_stop)
    assert ending.of_request(configured, evacuating=False).value == request_
    assert ending.of_request(configured, evacuating=True).value == during_evacuation
    assert ending.of_failure(configured).value == failure


async def test_a_hand_over_leaves_containers_and_presence_to_the_next_process(cell: Running) -> None:
    cell.begin(on_stop="hand-over")
    endings: list[Ending] = []
    async with cell.running() as task:
        cell.agent.on_end = endings.append
        cell.executor.put(lrp_container(S.RUNNING))
        first = cell.locket.held["cell-1"]
        cell.agent.stop()
        await task
    assert endings == [Ending.HAND_OVER]
    assert len(cell.executor.store) == 1
    assert "delete" not in {name for name, *_ in cell.executor.calls}
    assert cell.bbs.calls == []
    assert cell.locket.held == {"cell-1": first}

    cell.begin(on_stop="hand-over")
    async with cell.running():
        assert cell.locket.held["cell-1"].owner == first.owner
    assert "fetch" not in {name for name, _ in cell.locket.calls}, "no collision with its own presence"


async def test_a_part_that_fails_hands_over_as_well(cell: Running) -> None:
    cell.begin(on_stop="hand-over")
    async with cell.running() as task:
        cell.executor.put(lrp_container(S.RUNNING))
        cell.executor.end_events()
        with pytest.raises(ExceptionGroup) as caught:
            await task
    assert [type(error) for error in caught.value.exceptions] == [EventStreamEnded]
    assert len(cell.executor.store) == 1
    assert "cell-1" in cell.locket.held


async def test_after_a_boot_the_owner_is_a_new_one(cell: Running) -> None:
    cell.begin(on_stop="hand-over")
    async with cell.running():
        first = cell.locket.held["cell-1"].owner
    cell.locket.held.clear()
    cell.begin(same_boot=False)
    async with cell.running():
        assert cell.locket.held["cell-1"].owner != first


async def test_a_hand_over_does_not_wait_for_a_presence_that_another_cell_holds(cell: Running) -> None:
    cell.begin(on_stop="hand-over")
    cell.locket.held["cell-1"] = OTHER
    task = asyncio.create_task(cell.agent.run())
    await until(lambda: len(cell.locket.calls) > 3)
    cell.agent.stop()
    await task
    assert not cell.agent.ready.is_set()
    assert cell.locket.held == {"cell-1": OTHER}


async def test_a_signal_can_mean_an_evacuation_and_the_second_one_ends_it(cell: Running) -> None:
    cell.begin(on_stop="evacuate")
    cell.bbs.defaults["evacuate_running_actual_lrp"] = True
    endings: list[Ending] = []
    async with cell.running() as task:
        cell.agent.on_end = endings.append
        cell.executor.put(lrp_container(S.RUNNING))
        cell.agent.stop()
        await until(lambda: "evacuate_running_actual_lrp" in cell.bbs.calls)
        assert endings == []
        cell.agent.stop()
        await task
    assert endings == [Ending.DESTROY]
    assert cell.executor.store == {}
    assert cell.locket.held == {}


async def test_a_restart_goes_on_with_an_evacuation_until_its_end(cell: Running) -> None:
    cell.begin(on_stop="hand-over")
    cell.bbs.defaults["evacuate_running_actual_lrp"] = True
    async with cell.running():
        cell.executor.put(lrp_container(S.RUNNING))
        assert (await cell.ask("admin", "POST", "/evacuate"))[0] == 202
        assert EVACUATION_BEGUN in cell.rows.facts, "recorded before the answer"

    cell.begin(on_stop="hand-over")
    async with cell.running() as task:
        assert json.loads((await cell.ask("network", "GET", "/state"))[1])["Evacuating"] is True
        cell.bbs.defaults["evacuate_running_actual_lrp"] = False
        await task
    assert cell.executor.store == {}
    assert cell.locket.held == {}
    assert EVACUATION_BEGUN not in cell.rows.facts

    cell.begin(on_stop="hand-over")
    async with cell.running():
        assert json.loads((await cell.ask("network", "GET", "/state"))[1])["Evacuating"] is False


async def test_the_timeout_of_an_evacuation_counts_from_its_begin(cell: Running) -> None:
    cell.rows.facts[EVACUATION_BEGUN] = repr(time.monotonic() - 700).encode()
    cell.begin(on_stop="hand-over")
    cell.bbs.defaults["evacuate_running_actual_lrp"] = True
    cell.executor.put(lrp_container(S.RUNNING))
    await cell.agent.run()
    assert cell.executor.store == {}


async def test_a_start_goes_on_with_a_task_that_was_started_but_not_run(cell: Running) -> None:
    cell.bbs.defaults["start_task"] = False
    cell.bbs.defaults["task"] = Task(task_definition=TaskDefinition(action=RunAction(path="/x", user="u")))
    cell.executor.put(task_container(S.RESERVED))
    async with cell.running():
        await until(lambda: [name for name, *_ in cell.executor.calls] == ["run"])


async def test_a_start_does_not_run_a_task_again(cell: Running) -> None:
    cell.bbs.defaults["start_task"] = False
    cell.executor.put(task_container(S.INITIALIZING))
    async with cell.running() as task:
        cell.agent.stop()
        await task
    assert "run" not in {name for name, *_ in cell.executor.calls}


async def test_a_boot_ends_an_evacuation(cell: Running) -> None:
    cell.rows.facts[EVACUATION_BEGUN] = repr(time.monotonic()).encode()
    cell.begin(same_boot=False)
    async with cell.running():
        assert json.loads((await cell.ask("network", "GET", "/state"))[1])["Evacuating"] is False
