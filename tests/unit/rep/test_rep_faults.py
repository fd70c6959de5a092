"""A whole cell whose control plane fails in every way: nothing is lost, nobody waits for another.

The agent talks to a real embedded control plane over sockets; a layer in front of the BBS spoils answers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.client.locket import LocketClient
from bbs.client.transport import Policy
from bbs.embedded.outgoing import HTTPCallbacks
from bbs.embedded.repclient import RepClient
from bbs.embedded.service import BBS, run_bbs
from bbs.models.actions import RunAction
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from executor.model import Container, ContainerState, EventKind
from rep.agent import RepAgent
from rep.config import parse
from rep.server import listening

if TYPE_CHECKING:
    from tests.unit.rep.conftest import FakeExecutor

pytestmark = pytest.mark.unit

S = ContainerState
Until = Callable[[Callable[[], bool]], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATIENT = Policy(attempts=3, pause_s=0.01, request_timeout_s=0.2)
LRP = DesiredLRP(
    process_guid="web",
    domain="apps",
    root_fs="docker:///web",
    instances=2,
    action=RunAction(path="/web", user="vcap"),
    metric_tags={"source_id": MetricTagValue(static="web")},
)


class Nobody:
    """The test hands out the work itself."""

    async def request_lrps(self, requests: list[Any], trace_id: str = "") -> None: ...

    async def request_tasks(self, requests: list[Any], trace_id: str = "") -> None: ...


class Spoiler:
    """In front of a BBS: lets calls through, or answers for it."""

    def __init__(self) -> None:
        self.fault = ""
        self.about = ""
        """Only calls whose body has this text are spoilt; empty for all."""
        self.calls: Counter[str] = Counter()

    @web.middleware
    async def spoil(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        if not self.fault or self.about.encode() not in body:
            return await handler(request)
        self.calls[request.path] += 1
        match self.fault:
            case "500":
                return web.Response(status=500, text="boom")
            case "garbage":
                return web.Response(body=b"\xff\xff\xff", content_type="application/x-protobuf")
            case "truncated":
                answer = await handler(request)
                assert isinstance(answer, web.Response)
                assert isinstance(answer.body, bytes)
                cut = answer.body[: len(answer.body) // 2] or b"\x0a"
                return web.Response(body=cut, content_type="application/x-protobuf")
            case "hang":
                await asyncio.sleep(3600)
            case "hang up":
                assert request.transport is not None
                request.transport.abort()
        return web.Response(status=502)


class Deployment:
    """A BBS, a Locket and one cell."""

    def __init__(self, bbs: BBS, spoiler: Spoiler, agent: RepAgent, executor: FakeExecutor) -> None:
        self.bbs, self.spoiler, self.agent, self.executor = bbs, spoiler, agent, executor

    async def offer(self, *indices: int) -> list[Container]:
        """Work for the cell, as an auctioneer gives it; the containers it makes of it."""
        before = set(self.executor.store)
        entry = {
            "process_guid": "web",
            "domain": "apps",
            "RootFs": "docker:///web",
            "MemoryMB": 1,
            "DiskMB": 1,
        }
        work = {"LRPs": [{**entry, "index": index} for index in indices]}
        address = self.agent.listeners.network
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{address.host}:{address.port}/work", data=json.dumps(work)) as answer,
        ):
            assert await answer.json(content_type=None) == {"LRPs": None, "Tasks": None}
        return [self.executor.store[guid] for guid in self.executor.store.keys() - before]

    def become(self, guid: str, state: ContainerState, kind: EventKind) -> None:
        container = self.executor.container(guid)
        self.executor.tell(kind, replace(container, state=state, external_ip="192.0.2.1"))

    async def states(self) -> dict[int, str]:
        with_ = self.bbs.controllers.with_
        rows = await with_.store.run(lambda tables: tables.actual_lrps(process_guid="web"))
        return {row.actual_lrp_key.index: row.state for row in rows}

    async def until(self, expected: dict[int, str]) -> None:
        async with asyncio.timeout(10):
            for _ in itertools.count():
                if await self.states() == expected:
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def deployed(folder: Path, executor: FakeExecutor) -> AsyncIterator[Deployment]:
    spoiler = Spoiler()
    async with (
        RepClient() as reps,
        HTTPCallbacks() as callbacks,
        run_bbs(folder, auctioneer=Nobody(), reps=reps, callbacks=callbacks) as bbs,
        bbs.locket_server("127.0.0.1:0") as locket_port,
    ):
        bbs.app.middlewares.append(spoiler.spoil)
        async with (
            listening(bbs.app, "127.0.0.1:0", None) as address,
            HTTPBBSClient(f"http://127.0.0.1:{address.port}", policy=PATIENT) as client,
            LocketClient(f"127.0.0.1:{locket_port}", None) as locket,
        ):
            keys = {
                "cell_id": "cell-1",
                "zone": "z1",
                "bbs_address": f"http://127.0.0.1:{address.port}",
                "locket_address": f"127.0.0.1:{locket_port}",
                "listen_addr": "127.0.0.1:0",
                "listen_addr_securable": "127.0.0.1:0",
                "rep_url": "http://127.0.0.1:1",
                "polling_interval": "50ms",
            }
            agent = RepAgent(parse(json.dumps(keys)), executor, client, locket)
            await bbs.controllers.desired.desire(LRP, "")
            async with asyncio.TaskGroup() as group:
                group.create_task(agent.run())
                async with asyncio.timeout(10):
                    await agent.ready.wait()
                try:
                    yield Deployment(bbs, spoiler, agent, executor)
                finally:
                    spoiler.fault = ""
                    agent.stop()


@pytest.fixture
async def deployment(tmp_path: Path, executor: FakeExecutor) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path, executor) as running:
        yield running


@pytest.mark.parametrize("fault", ["500", "garbage", "truncated", "hang", "hang up"])
async def test_a_bbs_that_fails_for_a_while_costs_only_time(
    deployment: Deployment, executor: FakeExecutor, until: Until, fault: str
) -> None:
    (running,) = await deployment.offer(0)
    await until(lambda: executor.container(running.guid).state is S.INITIALIZING)
    deployment.become(running.guid, S.RUNNING, EventKind.RUNNING)
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
    deployment: Deployment, executor: FakeExecutor, until: Until
) -> None:
    stuck, *_ = await deployment.offer(0)
    await until(lambda: executor.container(stuck.guid).state is S.INITIALIZING)
    deployment.spoiler.fault, deployment.spoiler.about = "hang", stuck.guid
    deployment.become(stuck.guid, S.RUNNING, EventKind.RUNNING)
    (other,) = await deployment.offer(1)
    await until(lambda: executor.container(other.guid).state is S.INITIALIZING)
    deployment.become(other.guid, S.RUNNING, EventKind.RUNNING)
    await deployment.until({0: "CLAIMED", 1: "RUNNING"})
    deployment.spoiler.fault = ""
    await deployment.until({0: "RUNNING", 1: "RUNNING"})


async def test_attempts_are_bounded_while_the_bbs_is_away(
    deployment: Deployment, executor: FakeExecutor, until: Until
) -> None:
    (running,) = await deployment.offer(0)
    await until(lambda: executor.container(running.guid).state is S.INITIALIZING)
    deployment.become(running.guid, S.RUNNING, EventKind.RUNNING)
    await deployment.until({0: "RUNNING", 1: "UNCLAIMED"})
    deployment.spoiler.fault = "500"
    await until(lambda: deployment.spoiler.calls["/v1/tasks/list.r3"] >= 6)
    # a pass without its lists is given up: nothing is done by half of the truth
    assert deployment.spoiler.calls["/v1/actual_lrps/start.r1"] <= PATIENT.attempts
    lists = deployment.spoiler.calls["/v1/actual_lrps/list"]
    assert lists <= deployment.spoiler.calls["/v1/tasks/list.r3"] + PATIENT.attempts


async def test_an_end_that_cannot_be_told_is_found_by_a_later_pass(
    deployment: Deployment, executor: FakeExecutor, until: Until
) -> None:
    (running,) = await deployment.offer(0)
    await until(lambda: executor.container(running.guid).state is S.INITIALIZING)
    deployment.become(running.guid, S.RUNNING, EventKind.RUNNING)
    await deployment.until({0: "RUNNING", 1: "UNCLAIMED"})
    deployment.spoiler.fault = "hang up"
    deployment.become(running.guid, S.COMPLETED, EventKind.COMPLETE)
    await until(lambda: running.guid not in executor.store)
    assert await deployment.states() == {0: "RUNNING", 1: "UNCLAIMED"}
    deployment.spoiler.fault = ""
    await deployment.until({1: "UNCLAIMED"})
