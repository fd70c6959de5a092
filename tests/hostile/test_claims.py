"""Claims of a cell at its BBS: a lost answer or an expired reservation costs neither app nor crash count.

The BBS is the embedded one, over HTTP; a layer in front of it loses answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.client.transport import Policy
from bbs.embedded.service import BBS, run_bbs
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task, TaskDefinition, TaskState
from bbs.models.workload import VolumeMount
from executor.containers import machine
from executor.model import AllocationRequest, Container, ContainerState, Resources
from rep import tags
from rep.reconcile.batch import ContainerOperation
from rep.reconcile.processor import Cell, Processor
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder, RunRequestError
from rep.server import listening
from tests.support.outcomes import courier_for
from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit

CELL, OTHER = "cell-1", "cell-2"
GUID = "11111111-2222-3333-4444-5555"
TASK = "task-1"
KEY = ActualLRPKey(process_guid="web", index=0, domain="apps")
WEB = DesiredLRP(
    process_guid="web",
    domain="apps",
    root_fs="docker:///web",
    instances=1,
    action=RunAction(path="/web", user="vcap"),
    metric_tags={"source_id": MetricTagValue(static="web")},
)
DEFINITION = TaskDefinition(root_fs="docker:///web", action=RunAction(path="/job", user="vcap"))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Auctions:
    """The start requests of a BBS."""

    def __init__(self) -> None:
        self.lrps: list[Any] = []
        self.tasks: list[Any] = []

    async def request_lrps(self, requests: list[Any], trace_id: str = "") -> None:
        self.lrps.extend(requests)

    async def request_tasks(self, requests: list[Any], trace_id: str = "") -> None:
        self.tasks.extend(requests)


class UnusedPeer:
    """Reps and callbacks that no test calls."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


class LostAnswers:
    """Faults before the BBS. lose: number of answers of a path to lose after the BBS has acted.

    refuse: paths that answer 500 without reaching the BBS, until a request to ``heal_on``. then: awaited
    after a lost answer.
    """

    def __init__(self) -> None:
        self.lose: Counter[str] = Counter()
        self.refuse: set[str] = set()
        self.heal_on = ""
        self.then: Callable[[], Awaitable[object]] | None = None
        self.calls: list[str] = []

    @web.middleware
    async def pass_on(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls.append(request.path)
        if request.path == self.heal_on:
            self.refuse = set()
        if request.path in self.refuse:
            return web.Response(status=500)
        answer = await handler(request)
        if self.lose[request.path]:
            self.lose[request.path] -= 1
            if self.then is not None:
                await self.then()
            assert request.transport is not None
            request.transport.abort()
        return answer


class Credentials:
    """A registry that refuses an access key."""

    async def exchange(self, root_fs: str, username: str, password: str) -> tuple[str, str]:
        if username:
            raise RunRequestError("failed to get ECR credentials: status 400: no such key", detail="secret")
        return username, password


class World:
    """A BBS, faults before it, and the processor of a cell."""

    def __init__(self, bbs: BBS, faults: LostAnswers, client: HTTPBBSClient, auctions: Auctions) -> None:
        self.bbs, self.faults, self.auctions = bbs, faults, auctions
        self.executor = FakeExecutor(Resources(memory_mb=100, disk_mb=100, containers=9))
        self.removals = Removals()
        self.courier = courier_for(client, CELL, removals=self.removals)
        self.processor = Processor(
            Cell(cell_id=CELL),
            self.executor,
            client,
            RunRequestBuilder(stacks=StackMap({})),
            Credentials(),
            self.removals,
            self.courier,
        )

    async def deliver(self) -> None:
        """The courier works until no report waits."""
        async with asyncio.timeout(10), self.courier.running():
            while self.courier.ledger:
                await self.removals.wait(1)

    async def look_at(self, container: Container) -> None:
        self.executor.put(container)
        await self.look()

    async def look(self) -> None:
        """What an event or a bulk pass does about each container."""
        for guid in [*self.executor.store]:
            await self.processor.execute(ContainerOperation(guid))
        await self.bbs.settled()

    async def lrp(self) -> ActualLRP | None:
        store = self.bbs.controllers.deps.store
        rows = await store.run(lambda tables: tables.actual_lrps(process_guid="web"))
        return rows[0] if rows else None

    async def task(self) -> Task:
        task = await self.bbs.controllers.deps.store.run(lambda tables: tables.task(TASK))
        assert task is not None
        return task


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    auctions, faults, unused = Auctions(), LostAnswers(), UnusedPeer()
    async with run_bbs(tmp_path, auctioneer=auctions, reps=unused, callbacks=unused) as bbs:
        bbs.app.middlewares.append(faults.pass_on)
        policy = Policy(attempts=2, pause_s=0.001)
        async with (
            listening(bbs.app, "127.0.0.1:0", None) as address,
            HTTPBBSClient(f"http://127.0.0.1:{address.port}", policy=policy) as client,
        ):
            await bbs.controllers.desired.desire(WEB, "")
            await bbs.controllers.tasks.desire(TASK, "apps", DEFINITION)
            await bbs.settled()
            auctions.lrps.clear()
            auctions.tasks.clear()
            yield World(bbs, faults, client, auctions)


def reserved(guid: str, described: dict[str, str]) -> Container:
    return machine.reserve(AllocationRequest(guid=guid, tags=described), 0)[0]


def lrp_reservation() -> Container:
    return reserved(GUID, tags.lrp_tags(KEY, GUID, None, None))


def task_reservation() -> Container:
    return reserved(TASK, tags.task_tags("apps", None, None))


def expired(container: Container) -> Container:
    return machine.apply(container, machine.Expire())[0]


GET_LRP = "/v1/desired_lrps/get_by_process_guid.r3"
GET_TASK = "/v1/tasks/get_by_task_guid.r3"
START, REJECT = "/v1/tasks/start", "/v1/tasks/reject"


async def test_an_expired_reservation_is_given_back_and_not_crashed(world: World) -> None:
    """A claimed instance whose reservation expired was crashed: the count rose though nothing ran."""
    world.faults.refuse = {GET_LRP}
    await world.look_at(lrp_reservation())
    claimed = await world.lrp()
    assert claimed is not None
    assert claimed.state == "CLAIMED"
    await world.look_at(expired(lrp_reservation()))
    assert world.executor.store == {}
    given_back = await world.lrp()
    assert given_back is not None
    assert (given_back.state, given_back.crash_count, given_back.crash_reason) == ("UNCLAIMED", 0, "")
    assert len(world.auctions.lrps) == 1, "placed again at once"


async def test_an_expired_unclaimed_reservation_leaves_the_record_alone(world: World) -> None:
    elsewhere = ActualLRPInstanceKey(instance_guid="another", cell_id=OTHER)
    await world.bbs.controllers.lrps.claim("web", 0, elsewhere)
    before = await world.lrp()
    await world.look_at(expired(lrp_reservation()))
    assert await world.lrp() == before
    assert world.executor.store == {}


@pytest.mark.parametrize("while_", ["unclaimed", "claimed"])
async def test_the_reservation_of_a_removed_lrp_goes_at_once(world: World, while_: str) -> None:
    """An LRP deleted while it was claimed kept its reservation for a minute."""
    if while_ == "claimed":
        world.faults.refuse = {GET_LRP}
        await world.look_at(lrp_reservation())
        world.faults.refuse = set()
    else:
        world.executor.put(lrp_reservation())
    await world.bbs.controllers.desired.remove("web", "")
    await world.look()
    assert world.executor.store == {}
    assert await world.lrp() is None


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (
            {"volume_mounts": (VolumeMount(driver="d", mode="x", container_dir="/data"),)},
            "unrecognized volume mount mode: 'x' of /data",
        ),
        (
            {"image_username": "AKID", "image_password": "p"},
            "failed to get ECR credentials: status 400: no such key",
        ),
    ],
)
async def test_why_an_instance_cannot_run_reaches_its_owner(
    world: World, part: dict[str, Any], reason: str
) -> None:
    """A bad mount, or a registry that refuses, ended after a minute as "expired container"."""
    desired = replace(WEB, process_guid="bad", **part)
    definition = replace(DEFINITION, **part)
    store = world.bbs.controllers.deps.store
    await world.bbs.controllers.desired.desire(replace(WEB, process_guid="bad"), "")
    await world.bbs.controllers.tasks.desire("bad-task", "apps", DEFINITION)
    key = replace(KEY, process_guid="bad")

    class Desired(HTTPBBSClient):
        """Gives what no validation would let into a BBS of today."""

        async def desired_lrp(self, process_guid: str, *, trace_id: str = "") -> DesiredLRP:
            return desired

        async def task(self, task_guid: str, *, trace_id: str = "") -> Task:
            return Task(task_guid=task_guid, task_definition=definition)

    async with (
        listening(world.bbs.app, "127.0.0.1:0", None) as address,
        Desired(f"http://127.0.0.1:{address.port}") as client,
    ):
        world.processor = Processor(
            Cell(cell_id=CELL),
            world.executor,
            client,
            RunRequestBuilder(stacks=StackMap({})),
            Credentials(),
            Removals(),
            courier_for(client, CELL),
        )
        world.executor.put(reserved(GUID, tags.lrp_tags(key, GUID, None, None)))
        await world.look_at(reserved("bad-task", tags.task_tags("apps", None, None)))
    assert world.executor.store == {}
    (row,) = await store.run(lambda tables: tables.actual_lrps(process_guid="bad"))
    assert (row.crash_count, row.crash_reason) == (1, reason)
    task = await store.run(lambda tables: tables.task("bad-task"))
    assert task is not None
    assert (task.state, task.failed, task.failure_reason) == (TaskState.Completed, True, reason)


async def test_a_task_whose_start_was_not_answered_is_run_all_the_same(world: World) -> None:
    """The repeated start was answered "already started", and the task never ran."""
    world.faults.lose[START] = 1
    await world.look_at(task_reservation())
    assert world.faults.calls.count(START) == 2
    assert world.executor.container(TASK).state is ContainerState.INITIALIZING
    assert (await world.task()).state is TaskState.Running


async def test_a_started_task_whose_definition_was_not_had_is_run_by_a_later_pass(world: World) -> None:
    world.faults.refuse = {GET_TASK}
    await world.look_at(task_reservation())
    assert world.executor.container(TASK).state is ContainerState.RESERVED
    world.faults.refuse = set()
    await world.look()
    assert world.executor.container(TASK).state is ContainerState.INITIALIZING


async def test_a_running_task_is_not_run_again_by_a_bulk_pass(world: World) -> None:
    await world.look_at(task_reservation())
    await world.look()
    assert [call[0] for call in world.executor.calls] == ["run"]
    assert world.faults.calls == [START, GET_TASK, START]


def failed_to_be_made() -> Container:
    ended = machine.Complete(failed=True, failure_reason="failed to mount volume", retryable=True)
    return machine.apply(task_reservation(), ended)[0]


async def test_a_repeated_rejection_leaves_a_task_alone_that_runs_elsewhere(world: World) -> None:
    """The answer to a rejection got lost; its repeat put a task that ran elsewhere back to pending."""
    await world.bbs.controllers.tasks.start(TASK, CELL)
    world.faults.lose[REJECT] = 1
    world.faults.then = lambda: world.bbs.controllers.tasks.start(TASK, OTHER)
    await world.look_at(failed_to_be_made())
    await world.deliver()
    task = await world.task()
    assert (task.state, task.cell_id, task.rejection_count) == (TaskState.Running, OTHER, 1)
    assert world.executor.store == {}


async def test_a_rejection_that_did_not_arrive_is_repeated(world: World) -> None:
    await world.bbs.controllers.tasks.start(TASK, CELL)
    world.faults.refuse = {REJECT}
    world.faults.heal_on = GET_TASK
    await world.look_at(failed_to_be_made())
    await world.deliver()
    task = await world.task()
    assert (task.state, task.rejection_count) == (TaskState.Pending, 1)


@pytest.mark.parametrize(
    ("cell", "state", "rejections"), [(CELL, TaskState.Pending, 1), (OTHER, TaskState.Running, 0)]
)
async def test_an_expired_task_is_given_back_only_by_the_cell_that_has_it(
    world: World, cell: str, state: TaskState, rejections: int
) -> None:
    await world.bbs.controllers.tasks.start(TASK, cell)
    await world.look_at(expired(task_reservation()))
    task = await world.task()
    assert (task.state, task.cell_id, task.rejection_count) == (state, cell, rejections)
    assert world.executor.store == {}
