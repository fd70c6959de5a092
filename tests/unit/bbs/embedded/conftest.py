"""A BBS in a temporary folder, with an adjustable clock and scripted peers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import TCPConnector
from aiohttp.test_utils import TestClient, TestServer

from bbs.client.identity import Identity
from bbs.embedded.calls.startrequests import LRPStartRequest, TaskStartRequest
from bbs.embedded.service import BBS, run_bbs
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPInternalRoute, ActualLRPKey
from bbs.models.cell import CellCapacity, CellPresence, Provider
from bbs.models.codec import dumps
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.locket import Resource, TypeCode
from bbs.models.task import TaskDefinition
from tests.support.waiting import PATIENCE_S

SECOND = 1_000_000_000


@dataclass
class FakeClock:
    """A clock that tests move; each reading differs from the previous one."""

    now: int = 1_700_000_000 * SECOND

    def wall(self) -> int:
        self.now += 1
        return self.now

    def monotonic(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@dataclass
class FakeAuctioneer:
    """Remembers requests; ``react`` may answer them as an auctioneer would, through the BBS."""

    lrps: list[tuple[LRPStartRequest, str]] = field(default_factory=list)
    tasks: list[TaskStartRequest] = field(default_factory=list)
    on_lrp: Callable[[LRPStartRequest], Awaitable[None]] | None = None
    on_task: Callable[[TaskStartRequest], Awaitable[None]] | None = None

    async def request_lrps(self, requests: list[LRPStartRequest], trace_id: str = "") -> None:
        for request in requests:
            self.lrps.append((request, trace_id))
            if self.on_lrp is not None:
                await self.on_lrp(request)

    async def request_tasks(self, requests: list[TaskStartRequest], trace_id: str = "") -> None:
        for request in requests:
            self.tasks.append(request)
            if self.on_task is not None:
                await self.on_task(request)

    def taken(self) -> list[tuple[str, tuple[int, ...]]]:
        """Guid and indices of the LRP requests so far, which are then forgotten."""
        found = [(request.process_guid, request.indices) for request, _ in self.lrps]
        self.lrps.clear()
        return found


@dataclass
class FakeReps:
    """Remembers what reps were asked; ``error`` is raised by every call."""

    calls: list[tuple[object, ...]] = field(default_factory=list)
    error: Exception | None = None

    async def stop_lrp(
        self,
        rep_url: str,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        trace_id: str = "",
        *,
        attempts: int = 1,
    ) -> None:
        self._note("stop", rep_url, instance_key.instance_guid, attempts)

    async def cancel_task(self, rep_url: str, task_guid: str, trace_id: str = "") -> None:
        self._note("cancel", rep_url, task_guid)

    async def update_lrp(
        self,
        rep_url: str,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        internal_routes: Sequence[ActualLRPInternalRoute] | None,
        metric_tags: Mapping[str, str] | None,
        trace_id: str = "",
    ) -> None:
        names = None if internal_routes is None else [route.hostname for route in internal_routes]
        self._note("update", instance_key.instance_guid, names, metric_tags)

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


@dataclass
class FakeCallbacks:
    """Remembers deliveries; ``delivered`` is the answer to each."""

    bodies: list[tuple[str, str]] = field(default_factory=list)
    delivered: bool = True

    async def deliver(self, url: str, body: str) -> bool:
        self.bodies.append((url, body))
        return self.delivered


@dataclass
class World:
    """A running BBS and everything around it."""

    bbs: BBS
    clock: FakeClock
    auctioneer: FakeAuctioneer
    reps: FakeReps
    callbacks: FakeCallbacks

    async def rows(self, process_guid: str) -> list[ActualLRP]:
        """By index and presence."""
        found = await self.bbs.controllers.deps.store.run(
            lambda tables: tables.actual_lrps(process_guid=process_guid)
        )
        return sorted(found, key=lambda row: (row.actual_lrp_key.index, row.presence))

    async def states(self, process_guid: str) -> list[str]:
        """Each row as ``0 ORDINARY RUNNING``."""
        return [
            f"{row.actual_lrp_key.index} {row.presence.name} {row.state}"
            for row in await self.rows(process_guid)
        ]

    async def register(self, cell_id: str) -> None:
        """Give a cell a presence that outlives any test."""
        cell = CellPresence(
            cell_id=cell_id,
            rep_address=f"http://{cell_id}",
            rep_url=f"https://{cell_id}",
            zone="z1",
            capacity=CellCapacity(memory_mb=1024, disk_mb=1024, containers=10),
            rootfs_providers=(Provider(name="docker"),),
        )
        await self.register_presence(json.loads(dumps(cell)))

    async def register_presence(self, value: dict[str, Any]) -> None:
        """The same with a presence as a cell writes it."""
        presence = Resource(
            key=value["cell_id"],
            owner="o",
            value=json.dumps(value),
            type_code=TypeCode.PRESENCE,
        )
        self.bbs.controllers.deps.registry.lock(presence, 10**6)

    async def unregister(self, cell_id: str) -> None:
        self.bbs.controllers.deps.registry.release(cell_id, "o")

    async def freshen(self, domain: str) -> None:
        """Make a domain fresh for ever."""
        await self.bbs.controllers.deps.store.run(lambda tables: tables.upsert_domain(domain, None))

    async def converge(self) -> None:
        """One round, and all that follows from it."""
        await self.bbs.converge_now()
        await self.bbs.settled()


OpenWorld = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_world(tmp_path: Path, clock: FakeClock) -> OpenWorld:
    """Opens the BBS of this test's folder; again and again for restarts."""

    @asynccontextmanager
    async def open_() -> AsyncIterator[World]:
        auctioneer, reps, callbacks = FakeAuctioneer(), FakeReps(), FakeCallbacks()
        async with run_bbs(
            tmp_path,
            auctioneer=auctioneer,
            reps=reps,
            callbacks=callbacks,
            clock=clock,
            convergence_interval_s=3600,
        ) as bbs:
            yield World(bbs, clock, auctioneer, reps, callbacks)

    return open_


@pytest.fixture
async def world(open_world: OpenWorld) -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


MUTUAL_TLS = "mutual TLS"


@pytest.fixture
def over() -> str:
    """How clients talk to the BBS; a file that tests both ways has parameters for it."""
    return "plain HTTP"


@pytest.fixture
async def http(
    world: World, over: str, request: pytest.FixtureRequest
) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of the BBS over a real socket."""
    server = TestServer(world.bbs.app)
    if over == MUTUAL_TLS:
        identity = Identity(request.getfixturevalue("tls_identity"))
        await server.start_server(ssl=identity.server_context())
        connector = TCPConnector(ssl=identity.client_context())
    else:
        connector = TCPConnector()
    async with TestClient(server, connector=connector) as client:
        yield client


@pytest.fixture
def web_lrp() -> DesiredLRP:
    """A small valid desired LRP."""
    return DesiredLRP(
        process_guid="web",
        domain="apps",
        root_fs="docker:///app",
        instances=2,
        action=RunAction(path="/app", user="vcap"),
        memory_mb=64,
        metric_tags={"source_id": MetricTagValue(static="web")},
    )


@pytest.fixture
def definition() -> TaskDefinition:
    """A small valid task definition with a completion callback."""
    return TaskDefinition(
        root_fs="docker:///job",
        action=RunAction(path="/job", user="vcap"),
        completion_callback_url="http://example.com/done",
        annotation="note",
    )


@pytest.fixture
def within() -> Callable[[Awaitable[object]], Awaitable[object]]:
    """Waits for something that must happen, and fails when it doesn't."""

    async def wait(what: Awaitable[object]) -> object:
        async with asyncio.timeout(PATIENCE_S):
            return await what

    return wait
