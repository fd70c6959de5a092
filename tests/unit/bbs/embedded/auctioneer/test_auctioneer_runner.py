"""The batch cycle against scripted reps on real sockets and a scripted BBS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bbs.embedded.auctioneer.runner import AuctionRunner
from bbs.embedded.auctioneer.server import auctioneer_app
from bbs.embedded.calls.reps import RepClient
from bbs.embedded.calls.startrequests import LRPStartRequest, TaskStartRequest
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.auction import LRP, CellState, Demand, Resources, RootFSProvider, Task, Work
from bbs.models.cell import CellPresence
from bbs.models.errors import BBSError, ErrorType
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

ROOM = Resources(memory_mb=1000, disk_mb=1000, containers=10)


def lrps(*indices: int, process_guid: str = "web", **demand: Any) -> LRPStartRequest:
    return LRPStartRequest(
        process_guid=process_guid, domain="d", indices=indices, demand=Demand(root_fs="docker:///x", **demand)
    )


def task(guid: str = "t", **demand: Any) -> TaskStartRequest:
    return TaskStartRequest(task_guid=guid, domain="d", demand=Demand(root_fs="docker:///x", **demand))


@dataclass
class Rep:
    """A scripted cell that records its requests."""

    cell_id: str
    url: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    state_status: int = 200
    failing_states: int = 0
    work_status: int = 200
    refused: Work = Work()
    requests: list[str] = field(default_factory=list)
    works: asyncio.Queue[Work] = field(default_factory=asyncio.Queue)
    traces: list[tuple[str, str | None]] = field(default_factory=list)
    before_state: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/state", self._state)
        app.router.add_post("/work", self._work)
        return app

    def _note(self, request: web.Request) -> None:
        self.requests.append(request.path)
        self.traces.append((request.path, request.headers.get("X-Vcap-Request-Id")))

    async def _state(self, request: web.Request) -> web.Response:
        self._note(request)
        self.asked.set()
        if self.before_state is not None:
            await self.before_state.wait()
        if self.failing_states:
            self.failing_states -= 1
            return web.Response(status=500)
        state = CellState(
            cell_id=self.cell_id,
            rootfs_providers={"docker": RootFSProvider.arbitrary()},
            available_resources=ROOM,
            total_resources=ROOM,
        )
        return web.json_response(state.to_json() | self.state, status=self.state_status)

    async def _work(self, request: web.Request) -> web.Response:
        self._note(request)
        self.works.put_nowait(Work.loads(await request.read()))
        return web.json_response(self.refused.to_json(), status=self.work_status)


@dataclass
class BBS:
    """Scripted cells, and the reported failures."""

    presences: list[CellPresence] = field(default_factory=list)
    cells_errors: int = 0
    cells_calls: int = 0
    failures: asyncio.Queue[tuple[Any, str, str]] = field(default_factory=asyncio.Queue)
    answer: BBSError | None = None

    async def cells(self, *, trace_id: str = "") -> list[CellPresence]:
        self.cells_calls += 1
        if self.cells_errors:
            self.cells_errors -= 1
            raise BBSError(ErrorType.Timeout)
        return self.presences

    async def fail_actual_lrp(self, key: ActualLRPKey, error_message: str, *, trace_id: str = "") -> None:
        self.failures.put_nowait((key, error_message, trace_id))
        if self.answer:
            raise self.answer

    async def reject_task(self, task_guid: str, rejection_reason: str, *, trace_id: str = "") -> None:
        self.failures.put_nowait((task_guid, rejection_reason, trace_id))
        if self.answer:
            raise self.answer


@asynccontextmanager
async def running(bbs: BBS, *reps: Rep, explain: bool = False) -> AsyncIterator[AuctionRunner]:
    async with AsyncExitStack() as stack:
        for rep in reps:
            server = await stack.enter_async_context(TestServer(rep.app()))
            rep.url = str(server.make_url("/")).rstrip("/")
            bbs.presences.append(CellPresence(cell_id=rep.cell_id, rep_url=rep.url))
        client = await stack.enter_async_context(RepClient())
        runner = AuctionRunner(bbs, client, explain=explain, cells_retry_s=0.001)
        cycle = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            cycle.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cycle


async def soon(get: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await get()


async def test_a_request_becomes_work_on_a_cell() -> None:
    bbs, rep = BBS(), Rep("c0")
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0, 1, volume_drivers=())], "trace")
        work = await soon(rep.works.get)

    assert work.cell_id == "c0"
    assert [(lrp.process_guid, lrp.index, lrp.demand.volume_drivers) for lrp in work.lrps] == [
        ("web", 0, ()),
        ("web", 1, ()),
    ]
    assert rep.traces == [("/state", "trace"), ("/work", "trace")]
    assert bbs.failures.empty()


async def test_each_cell_is_given_its_work_in_one_request() -> None:
    bbs, first, second = BBS(), Rep("c0"), Rep("c1")
    async with running(bbs, first, second) as runner:
        await runner.request_lrps([lrps(0, 1, 2, 3)])
        works = [await soon(rep.works.get) for rep in (first, second)]

    assert [len(work.lrps) for work in works] == [2, 2]
    assert first.requests == second.requests == ["/state", "/work"]


async def test_requests_that_come_while_states_are_fetched_join_the_batch_once() -> None:
    bbs, rep = BBS(), Rep("c0", before_state=asyncio.Event())
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0)], "first")
        await soon(rep.asked.wait)
        await runner.request_lrps([lrps(0, 1)], "second")
        await runner.request_tasks([task(), task()])
        assert rep.before_state is not None
        rep.before_state.set()
        work = await soon(rep.works.get)

    assert [lrp.index for lrp in work.lrps] == [0, 1]
    assert [item.task_guid for item in work.tasks] == ["t"]
    # three traces in one work: none of them stands for it
    assert rep.traces[-1] == ("/work", None)


async def test_a_later_request_is_another_batch() -> None:
    bbs, rep = BBS(), Rep("c0")
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0)])
        await soon(rep.works.get)
        await runner.request_tasks([task()])
        work = await soon(rep.works.get)

    assert (work.lrps, [item.task_guid for item in work.tasks]) == ((), ["t"])


async def test_what_finds_no_cell_is_reported_with_its_own_trace() -> None:
    bbs, rep = BBS(), Rep("c0")
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0, placement_tags=("x",))], "lrp-trace")
        lrp_failure = await soon(bbs.failures.get)
        await runner.request_tasks([task(memory_mb=5000)])
        task_failure = await soon(bbs.failures.get)

    key = ActualLRPKey(process_guid="web", index=0, domain="d")
    assert lrp_failure == (key, 'found no compatible cell with placement tag "x"', "lrp-trace")
    assert task_failure == ("t", "insufficient resources: memory", "")
    assert "/work" not in rep.requests


async def test_without_cells_nothing_can_be_reached() -> None:
    bbs = BBS()
    async with running(bbs) as runner:
        await runner.request_tasks([task()])

        assert (await soon(bbs.failures.get))[1] == "unable to communicate to compatible cells"


@pytest.mark.parametrize(
    "broken",
    [
        Rep("c0", state_status=503),
        Rep("c0", state={"cell_id": "other"}),
        Rep("c0", state={"Evacuating": True}),
        Rep("c0", state={"LRPs": 7}),
    ],
    ids=["unhealthy", "another cell", "evacuating", "unreadable"],
)
async def test_a_cell_without_a_usable_state_is_left_out(broken: Rep) -> None:
    bbs, good = BBS(), Rep("c1")
    async with running(bbs, broken, good) as runner:
        await runner.request_lrps([lrps(0, 1)])
        work = await soon(good.works.get)

    assert len(work.lrps) == 2
    assert broken.requests == ["/state"]


async def test_a_cell_that_does_not_say_its_id_is_taken_for_the_one_registered() -> None:
    bbs, rep = BBS(), Rep("c0", state={"cell_id": ""})
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0)])

        assert (await soon(rep.works.get)).cell_id == "c0"


async def test_with_no_usable_state_there_are_four_rounds() -> None:
    bbs, rep = BBS(), Rep("c0", state_status=503)
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0)])
        failure = await soon(bbs.failures.get)

    assert failure[1] == "unable to communicate to compatible cells"
    assert rep.requests == ["/state"] * 4


async def test_a_state_in_a_later_round_is_good_enough() -> None:
    bbs, rep = BBS(), Rep("c0", failing_states=3)
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0)])
        await soon(rep.works.get)

    assert rep.requests == ["/state"] * 4 + ["/work"]


async def test_the_list_of_cells_is_asked_for_again() -> None:
    bbs, rep = BBS(cells_errors=3), Rep("c0")
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0)])
        await soon(rep.works.get)

    assert bbs.cells_calls == 4


@pytest.mark.parametrize(
    "rep",
    [Rep("c0", work_status=500), Rep("c0", refused=Work.loads('{"LRPs":[{"process_guid":"web"}]}'))],
    ids=["failing", "refusing"],
)
async def test_work_a_cell_does_not_take_is_left_to_convergence(rep: Rep) -> None:
    bbs = BBS()
    async with running(bbs, rep) as runner:
        await runner.request_lrps([lrps(0)])
        await soon(rep.works.get)
        await runner.request_lrps([lrps(1)])
        await soon(rep.works.get)

    assert bbs.failures.empty()


async def test_a_failure_the_bbs_turns_down_does_not_stop_the_auctioneer() -> None:
    bbs = BBS(answer=BBSError(ErrorType.ResourceNotFound))
    async with running(bbs) as runner:
        await runner.request_lrps([lrps(0)])
        await runner.request_tasks([task()])
        await soon(bbs.failures.get)
        await soon(bbs.failures.get)
        await runner.request_tasks([task("again")])

        assert (await soon(bbs.failures.get))[0] == "again"


@asynccontextmanager
async def served(bbs: BBS, *reps: Rep) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    async with running(bbs, *reps) as runner, TestClient(TestServer(auctioneer_app(runner))) as client:
        yield client


async def test_the_http_door_queues_and_answers_at_once() -> None:
    bbs, rep = BBS(), Rep("c0")
    async with served(bbs, rep) as client:
        body = json.dumps([lrps(0).to_json()])
        answer = await client.post("/v1/lrps", data=body, headers={"X-Vcap-Request-Id": "tr"})
        assert (answer.status, await answer.text()) == (202, "{}")
        assert answer.headers["Content-Type"] == "application/json"
        await soon(rep.works.get)
        answer = await client.post("/v1/tasks", data=json.dumps([task().to_json()]))
        assert answer.status == 202
        await soon(rep.works.get)

    assert rep.traces == [("/state", "tr"), ("/work", "tr"), ("/state", None), ("/work", None)]


async def test_elements_that_make_no_sense_are_dropped_and_the_rest_is_placed() -> None:
    bbs, rep = BBS(), Rep("c0")
    async with served(bbs, rep) as client:
        requests = [{"process_guid": "", "domain": "d", "indices": [0]}, {}, lrps(0).to_json()]
        assert (await client.post("/v1/lrps", data=json.dumps(requests))).status == 202
        assert (await client.post("/v1/tasks", data='[{"TaskGuid":"t"}]')).status == 202
        work = await soon(rep.works.get)

    assert ([lrp.process_guid for lrp in work.lrps], work.tasks) == (["web"], ())


@pytest.mark.parametrize("path", ["/v1/lrps", "/v1/tasks"])
@pytest.mark.parametrize("body", ["{nope", "{}", ""])
async def test_malformed_json_is_refused(path: str, body: str) -> None:
    async with served(BBS()) as client:
        answer = await client.post(path, data=body)

        assert answer.status == 400
        assert list(await answer.json()) == ["error"]


async def test_a_failure_can_say_what_each_cell_had_against_the_work() -> None:
    bbs = BBS()
    async with running(bbs, Rep("c0"), Rep("c1"), explain=True) as runner:
        await runner.request_tasks(
            [TaskStartRequest(task_guid="t", domain="d", demand=Demand(root_fs="preloaded:x"))]
        )
        guid, text, _ = await soon(bbs.failures.get)
    why = "no root filesystem preloaded:x (it has docker:*)"
    assert guid == "t"
    assert text == f"found no compatible cell for required rootfs (c0: {why}, c1: {why})"


async def test_a_failure_can_say_why_cells_took_no_part() -> None:
    bbs = BBS()
    sick, leaving, silent = Rep("c1", state_status=503), Rep("c2", state={"Evacuating": True}), Rep("c3")
    silent.failing_states = 10
    async with running(bbs, Rep("c0"), sick, leaving, silent, explain=True) as runner:
        await runner.request_lrps([lrps(0, memory_mb=10**6)])
        _, text, _ = await soon(bbs.failures.get)
    assert text == (
        f"insufficient resources: memory (c0: {ROOM.memory_mb} MB of memory left, 1000000 needed,"
        " c1: its container engine or its journal fails, c2: it is evacuating,"
        " c3: it could not be asked for its state)"
    )


async def test_without_any_cell_to_ask_the_reasons_are_told_too() -> None:
    bbs = BBS()
    async with running(bbs, Rep("c0", state={"Evacuating": True}), explain=True) as runner:
        await runner.request_tasks([task()])
        _, text, _ = await soon(bbs.failures.get)
    assert text == "unable to communicate to compatible cells (c0: it is evacuating)"


@pytest.mark.parametrize("explain", [False, True])
async def test_an_instance_a_cell_refused_can_be_told_by_whom(explain: bool) -> None:
    bbs, rep = BBS(), Rep("c0")
    refused = LRP(process_guid="web", index=0, domain="d", demand=Demand(root_fs="docker:///x"))
    rep.refused = Work(lrps=(refused,), tasks=(Task(task_guid="t", domain="d", demand=refused.demand),))
    async with running(bbs, rep, explain=explain) as runner:
        await runner.request_lrps([lrps(0)])
        await soon(rep.works.get)
        if explain:
            key, text, _ = await soon(bbs.failures.get)
            assert (key.process_guid, text) == ("web", "cell c0 refused it, its log says why")
    assert bbs.failures.empty()
