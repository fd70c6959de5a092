"""The two listeners, over real sockets: statuses, bodies and headers of every route."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bbs.serving.address import Address
from executor.errors import ExecutorError
from executor.journal.api import FailureReason
from executor.model import (
    ContainerMetrics,
    ContainerState,
    MetricsConfig,
    RunInfo,
    UpdateRequest,
)
from rep.config import RepConfig
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import RequestMetrics
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.server import AdminRoutes, NetworkRoutes, listening
from rep.state import CellIdentity
from tests.support.journals import FailingJournal
from tests.support.outcomes import courier_for
from tests.support.rep_doubles import lrp_container, task_container
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit

S = ContainerState
GUID = "11111111-2222-3333-4444-5555"
TASK = "task-1"
STACK = "/stacks/cflinuxfs4.tar"
SNIFFED = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Listener:
    """A cell's two listeners and a client of each."""

    def __init__(self, executor: FakeExecutor, config: RepConfig) -> None:
        self.executor = executor
        self.evacuation = EvacuationFlag()
        self.requests = RequestMetrics()
        self.deletions = Deletions(executor, Removals())
        identity = CellIdentity(
            config=config,
            rep_url=f"https://{config.cell_id}.cell.service.cf.internal:18801",
            stacks=StackMap({"cflinuxfs4": STACK}),
        )
        self.journal = FailingJournal()
        self.courier = courier_for(None, journal=self.journal)
        self.applications = {
            "admin": AdminRoutes(self.evacuation, self.courier).application(),
            "network": NetworkRoutes(
                identity, executor, self.evacuation, self.deletions, self.requests, self.courier.ledger
            ).application(),
        }
        self.addresses: dict[str, Address] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Listener]:
        async with (
            self.deletions.open(),
            listening(self.applications["admin"], "127.0.0.1:0", None) as admin,
            listening(self.applications["network"], "127.0.0.1:0", None) as network,
            aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as self.session,
        ):
            self.addresses = {"admin": admin, "network": network}
            yield self

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, side: str = "network", trace_id: str = ""
    ) -> Reply:
        address = self.addresses[side]
        headers = {"X-Vcap-Request-Id": trace_id} if trace_id else {}
        url = f"http://{address.host}:{address.port}{path}"
        async with self.session.request(method, url, data=body, headers=headers) as response:
            return Reply(response.status, dict(response.headers), await response.read())


def empty(reply: Reply) -> int:
    """The status of an answer that has to have neither body nor type."""
    assert (reply.body, "Content-Type" in reply.headers) == (b"", False)
    return reply.status


CONFIG = RepConfig(
    cell_id="cell-ref-0", zone="z1", supported_providers=("docker",), optional_placement_tags=("golden",)
)


@pytest.fixture
async def cell(executor: FakeExecutor) -> AsyncIterator[Listener]:
    async with Listener(executor, CONFIG).open() as listener:
        yield listener


async def test_a_reservation_is_seen_at_once(cell: Listener, executor: FakeExecutor) -> None:
    lrp = {"process_guid": "web", "index": 1, "domain": "apps", "MemoryMB": 100, "DiskMB": 10}
    work = {"lrps": [lrp], "tasks": [{"taskguid": "t", "domain": "apps", "RootFs": "docker:///x"}]}
    reply = await cell.ask("POST", "/work", json.dumps(work).encode(), trace_id="trace")
    assert (reply.status, reply.body) == (200, b'{"LRPs":null,"Tasks":null}\n')
    state = json.loads((await cell.ask("GET", "/state")).body)
    (entry,) = state["LRPs"]
    assert len(entry["instance_guid"]) == 28
    assert (entry["state"], entry["RootFs"], entry["PlacementTags"]) == ("CLAIMED", "", None)
    assert [task["TaskGuid"] for task in state["Tasks"]] == ["t"]
    assert state["StartingContainerCount"] == 2
    assert state["AvailableResources"] == {"MemoryMB": 900, "DiskMB": 1990, "Containers": 247}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"x"',
        b'{"LRPs":[{"index":2147483648}]}',
        b'{"LRPs":[{"MemoryMB":1.5}]}',
        b'{"LRPs":[{"process_guid":5}]}',
        b'{"LRPs":{}}',
        b'{"Tasks":[{"state":"Nope"}]}',
        b'{"cell_id":NaN}',
        b"[" * 100000,
    ],
)
async def test_work_that_is_no_work(cell: Listener, body: bytes) -> None:
    assert empty(await cell.ask("POST", "/work", body)) == 400


@pytest.mark.parametrize("body", [b"null", b"{} trailing", b' {"cell_id":"cell-ref-0"}'])
async def test_work_that_peers_get_away_with(cell: Listener, body: bytes) -> None:
    assert (await cell.ask("POST", "/work", body)).status == 200


async def test_all_work_comes_back_while_evacuating(cell: Listener, executor: FakeExecutor) -> None:
    cell.evacuation.set()
    lrps = [{"process_guid": "small", "MemoryMB": 1}, {"process_guid": "big", "MemoryMB": 2}]
    body = json.dumps({"LRPs": lrps, "Tasks": [{"TaskGuid": "t"}], "cell_id": "cell-ref-0"}).encode()
    back = json.loads((await cell.ask("POST", "/work", body)).body)
    assert [lrp["process_guid"] for lrp in back["LRPs"]] == ["big", "small"]
    assert (back["Tasks"][0]["state"], back["cell_id"]) == ("Invalid", "cell-ref-0")
    assert executor.store == {}


async def test_state_is_500_when_volume_drivers_cannot_be_listed(
    cell: Listener, executor: FakeExecutor
) -> None:
    executor.errors["volume_drivers"] = ExecutorError("no answer")
    assert empty(await cell.ask("GET", "/state")) == 500


async def test_container_metrics(cell: Listener, executor: FakeExecutor) -> None:
    labelled = RunInfo(metrics_config=MetricsConfig(guid="metrics", tags={"source_id": "app"}))
    plain = RunInfo(metrics_config=MetricsConfig(guid="metrics"))
    executor.put(lrp_container(S.RUNNING, run_info=labelled), task_container(S.RUNNING, run_info=plain))
    executor.put(lrp_container(guid="no-sample"))
    reading = ContainerMetrics(memory_usage=3, memory_limit=4, disk_usage=1, disk_limit=2, cpu_percentage=1.3)
    executor.readings = {
        GUID: replace(reading, rx_bytes=5, tx_bytes=6),
        TASK: replace(reading, cpu_percentage=0.0),
    }
    reply = await cell.ask("GET", "/container_metrics")
    assert reply.body.decode() == (
        '{"cell_id":"cell-ref-0","lrps":[{"instance_guid":"11111111-2222-3333-4444-5555",'
        '"process_guid":"web","index":2,"metric_guid":"app","cpu_usage_fraction":0.013000000000000001,'
        '"disk_usage_bytes":1,"disk_quota_bytes":2,"memory_usage_bytes":3,"memory_quota_bytes":4,'
        '"rx_bytes":5,"tx_bytes":6}],"tasks":[{"task_guid":"task-1","metric_guid":"metrics",'
        '"cpu_usage_fraction":0,"disk_usage_bytes":1,"disk_quota_bytes":2,"memory_usage_bytes":3,'
        '"memory_quota_bytes":4}]}\n'
    )


async def test_no_container_metrics(cell: Listener) -> None:
    reply = await cell.ask("GET", "/container_metrics")
    assert reply.body == b'{"cell_id":"cell-ref-0","lrps":[],"tasks":[]}\n'


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("body", "update"),
    [
        (b"{}", UpdateRequest(guid=GUID)),
        (b'{"internal_routes":null,"metric_tags":null}', UpdateRequest(guid=GUID)),
        (b'{"internal_routes":[]}', UpdateRequest(guid=GUID, internal_routes=())),
        (
            b'{"internal_routes":[{"hostname":"a"}],"metric_tags":{"k":"v"}}',
            UpdateRequest(guid=GUID, internal_routes=("a",), metric_tags={"k": "v"}),
        ),
    ],
)
async def test_an_update(
    cell: Listener,
    executor: FakeExecutor,
    version: str,
    body: bytes,
    update: UpdateRequest,
) -> None:
    executor.put(lrp_container(S.RUNNING))
    reply = await cell.ask("PUT", f"/{version}/lrps/web/instances/{GUID}", body, trace_id="trace")
    assert empty(reply) == 202
    assert executor.calls == [("update", update, "trace")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", f"/v2/lrps//instances/{GUID}", 400),
        ("PUT", "/v2/lrps/web/instances/", 400),
        ("POST", f"/v1/lrps//instances/{GUID}/stop", 400),
        ("POST", "/v1/lrps/web/instances//stop", 400),
        ("PUT", f"/v2/lrps/web/instances/{GUID}", 500),
        ("POST", f"/v1/lrps/web/instances/{GUID}/stop", 500),
        ("POST", "/sim/reset", 500),
        ("POST", "/v1/tasks/none/cancel", 202),
    ],
)
async def test_requests_about_nothing(cell: Listener, method: str, path: str, status: int) -> None:
    assert empty(await cell.ask(method, path, b"{}")) == status


@pytest.mark.parametrize("side", ["admin", "network"])
@pytest.mark.parametrize(
    "path",
    ["/state/", "/ping/", "/evacuate/", "/work/", "/", "/nope", f"/v1/lrps/web/instances/{GUID}/stop/"],
)
async def test_unknown_paths(cell: Listener, side: str, path: str) -> None:
    reply = await cell.ask("GET", path, side=side)
    assert (reply.status, reply.body) == (404, b"404 page not found\n")
    assert reply.headers["Content-Type"] == SNIFFED


@pytest.mark.parametrize(
    ("side", "method", "path", "allowed"),
    [
        ("admin", "POST", "/ping", "GET"),
        ("admin", "HEAD", "/ping", "GET"),
        ("admin", "GET", "/evacuate", "POST"),
        ("network", "POST", "/state", "GET"),
        ("network", "HEAD", "/state", "GET"),
        ("network", "GET", "/work", "POST"),
        ("network", "POST", f"/v2/lrps/web/instances/{GUID}", "PUT"),
        ("network", "GET", f"/v1/lrps/web/instances/{GUID}/stop", "POST"),
        ("network", "DELETE", "/v1/tasks/t/cancel", "POST"),
    ],
)
async def test_wrong_methods(cell: Listener, side: str, method: str, path: str, allowed: str) -> None:
    reply = await cell.ask(method, path, side=side)
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)
    assert reply.body == (b"" if method == "HEAD" else b"Method Not Allowed\n")


async def test_evacuate_twice(cell: Listener) -> None:
    for _ in range(2):
        reply = await cell.ask("POST", "/evacuate", b"ignored", side="admin")
        assert (reply.status, reply.body) == (202, b'{"ping_path":"/ping"}')
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["Content-Length"] == "21"
    assert cell.evacuation


async def test_a_stop_waits_for_the_executor(cell: Listener, executor: FakeExecutor) -> None:
    executor.put(lrp_container(S.CREATED))
    gate = executor.gates["stop"] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(cell.ask("POST", f"/v1/lrps/web/instances/{GUID}/stop", trace_id="t"))
        await until(lambda: executor.calls == [("stop", GUID, "t")])
        assert not asked.done()
        gate.set()
    assert asked.result().status == 202


async def test_a_cancel_does_not_wait(cell: Listener, executor: FakeExecutor) -> None:
    executor.put(task_container(S.RUNNING))
    gate = executor.gates["delete"] = asyncio.Event()
    assert (await cell.ask("POST", f"/v1/tasks/{TASK}/cancel", trace_id="t")).status == 202
    await until(lambda: executor.calls == [("delete", TASK, "t")])
    assert TASK in executor.store
    gate.set()
    await until(lambda: not executor.store)


async def test_requests_are_counted_by_type(cell: Listener) -> None:
    await cell.ask("GET", "/state")
    await cell.ask("POST", "/work", b"{")
    counts = cell.requests.counts
    assert (counts["State"].started, counts["State"].succeeded, counts["State"].failed) == (1, 1, 0)
    assert (counts["Perform"].started, counts["Perform"].succeeded, counts["Perform"].failed) == (1, 0, 1)
    assert counts["State"].in_flight == 0
    assert counts["State"].latency_max_ns > 0


async def test_a_cell_that_cannot_store_reports_is_not_healthy(cell: Listener) -> None:
    cell.journal.failure = FailureReason.FULL
    reply = await cell.ask("GET", "/state")
    assert (reply.status, json.loads(reply.body)["cell_id"]) == (503, "cell-ref-0")
    cell.journal.failure = None
    assert (await cell.ask("GET", "/state")).status == 200
