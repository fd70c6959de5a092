"""A whole cell with a failing control plane: no loss, and no instance delays another."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from executor.model import ContainerState, EventKind
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor
    from tests.unit.rep.faults.conftest import Deployment

pytestmark = pytest.mark.unit

S = ContainerState
ATTEMPTS = 3
"""Of one call, by the deployment's client."""


@pytest.mark.parametrize("fault", ["500", "garbage", "truncated", "hang", "hang up"])
async def test_a_bbs_that_fails_for_a_while_costs_only_time(
    deployment: Deployment, executor: FakeExecutor, fault: str
) -> None:
    (running,) = await deployment.run(0)
    await deployment.until({0: "RUNNING", 1: "UNCLAIMED"})

    deployment.spoiler.fault = fault
    (waiting,) = await deployment.offer(1)
    await until(lambda: deployment.spoiler.calls["/v1/actual_lrps/claim"] >= 3)
    assert executor.container(waiting.guid).state is S.RESERVED, "nothing is run that was not claimed"
    assert executor.container(running.guid).state is S.RUNNING, "what runs goes on"

    deployment.spoiler.fault = ""
    await until(lambda: executor.container(waiting.guid).state is S.INITIALIZING)
    deployment.become(waiting.guid, S.RUNNING, EventKind.RUNNING)
    await deployment.until({0: "RUNNING", 1: "RUNNING"})


async def test_one_instance_nobody_answers_for_does_not_hold_up_others(
    deployment: Deployment, executor: FakeExecutor
) -> None:
    stuck, *_ = await deployment.offer(0)
    await until(lambda: executor.container(stuck.guid).state is S.INITIALIZING)
    deployment.spoiler.fault, deployment.spoiler.about = "hang", stuck.guid
    deployment.become(stuck.guid, S.RUNNING, EventKind.RUNNING)
    await deployment.run(1)
    await deployment.until({0: "CLAIMED", 1: "RUNNING"})
    deployment.spoiler.fault = ""
    await deployment.until({0: "RUNNING", 1: "RUNNING"})


async def test_attempts_are_bounded_while_the_bbs_is_away(
    deployment: Deployment, executor: FakeExecutor
) -> None:
    await deployment.run(0)
    await deployment.until({0: "RUNNING", 1: "UNCLAIMED"})
    deployment.spoiler.fault = "500"
    await until(lambda: deployment.spoiler.calls["/v1/tasks/list.r3"] >= 6)
    # a pass without its lists is given up: nothing is done by half of the truth
    assert deployment.spoiler.calls["/v1/actual_lrps/start.r1"] <= ATTEMPTS
    lists = deployment.spoiler.calls["/v1/actual_lrps/list"]
    assert lists <= deployment.spoiler.calls["/v1/tasks/list.r3"] + ATTEMPTS


async def test_an_end_that_cannot_be_told_is_told_later(
    deployment: Deployment, executor: FakeExecutor
) -> None:
    """It was lost: the record was removed as residual, without a crash count, a reason or an event."""
    (running,) = await deployment.run(0)
    await deployment.until({0: "RUNNING", 1: "UNCLAIMED"})
    deployment.spoiler.fault = "hang up"
    deployment.become(running.guid, S.COMPLETED, EventKind.COMPLETE)
    await until(lambda: running.guid not in executor.store)
    assert await deployment.states() == {0: "RUNNING", 1: "UNCLAIMED"}
    deployment.spoiler.fault = ""
    await deployment.until({0: "UNCLAIMED", 1: "UNCLAIMED"})
    assert await deployment.crashes() == {0: 1, 1: 0}


async def test_a_bbs_that_is_not_there_at_all_is_found_again(
    deployment: Deployment, executor: FakeExecutor
) -> None:
    (running,) = await deployment.run(0)
    await deployment.until({0: "RUNNING", 1: "UNCLAIMED"})
    await deployment.api.stop()
    (waiting,) = await deployment.offer(1)
    deployment.become(running.guid, S.COMPLETED, EventKind.COMPLETE)
    await until(lambda: running.guid not in executor.store)
    assert executor.container(waiting.guid).state is S.RESERVED
    await deployment.api.start()
    await until(lambda: executor.container(waiting.guid).state is S.INITIALIZING)
    deployment.become(waiting.guid, S.RUNNING, EventKind.RUNNING)
    await deployment.until({0: "UNCLAIMED", 1: "RUNNING"})
    assert await deployment.crashes() == {0: 1, 1: 0}


@asynccontextmanager
async def black_hole(port: int) -> AsyncIterator[None]:
    """Takes connections and says nothing."""
    gone = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", port):
        try:
            yield
        finally:
            gone.set()


PRESENCE_CHANGES = {"locket-lock.lost-lock", "locket-lock.acquired-lock"}


@pytest.mark.parametrize("fault", ["down", "hangs"])
async def test_without_locket_the_cell_is_not_listed_and_its_containers_go_on(
    deployment: Deployment,
    executor: FakeExecutor,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    caplog.set_level(logging.INFO)
    (running,) = await deployment.run(0)
    await deployment.until({0: "RUNNING", 1: "UNCLAIMED"})
    assert await deployment.cells() == ["cell-1"]

    await deployment.locket.stop()
    async with black_hole(deployment.locket.port) if fault == "hangs" else nullcontext():
        async with asyncio.timeout(PATIENCE_S):
            for _ in itertools.count():
                if await deployment.cells() == []:
                    break
                await asyncio.sleep(0.02)
        assert "lost-lock" in caplog.text
        (other,) = await deployment.offer(1)
        await until(lambda: executor.container(other.guid).state is S.INITIALIZING)
        assert executor.container(running.guid).state is S.RUNNING

    await deployment.locket.start()
    async with asyncio.timeout(PATIENCE_S):
        for _ in itertools.count():
            if await deployment.cells() == ["cell-1"]:
                break
            await asyncio.sleep(0.02)
    changes = [record.message for record in caplog.records if record.message in PRESENCE_CHANGES]
    assert all(before != after for before, after in pairwise(changes)), "said once, not at every try"
