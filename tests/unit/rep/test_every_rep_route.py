"""Every route of a cell's two listeners once: request, status, type and body."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest

from bbs.client.identity import Identity, IdentityFiles
from executor.model import ContainerMetrics, ContainerState, MetricsConfig, RunInfo
from rep import tags
from rep.config import RepConfig
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import RequestMetrics
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.server import AdminRoutes, NetworkRoutes, listening
from rep.state import CellIdentity
from tests.support.outcomes import idle_courier
from tests.support.rep_doubles import lrp_container
from tests.support.routes import route_table, served_routes

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit

GUID = "11111111-2222-3333-4444-5555"
JSON_AS_TEXT = "text/plain; charset=utf-8"

STATE = (
    b'{"rep_url":"https://c1.cell:1801","cell_id":"c1","cell_index":0,"RootFSProviders":'
    b'{"docker":{"type":"arbitrary"},"preloaded":{"set":{"stack":{}},"type":"fixed_set"},'
    b'"preloaded+layer":{"set":{"stack":{}},"type":"fixed_set"}},'
    b'"AvailableResources":{"MemoryMB":936,"DiskMB":1872,"Containers":248},'
    b'"TotalResources":{"MemoryMB":1000,"DiskMB":2000,"Containers":249},'
    b'"LRPs":[{"instance_guid":"11111111-2222-3333-4444-5555","process_guid":"web","index":2,"domain":"apps",'
    b'"PlacementTags":["t"],"VolumeDrivers":[],"RootFs":"preloaded:stack","MemoryMB":64,"DiskMB":128,'
    b'"MaxPids":0,"state":"RUNNING"}],"Tasks":[],"StartingContainerCount":0,"Zone":"z1","Evacuating":false,'
    b'"VolumeDrivers":["nfs"],"PlacementTags":["t"],"OptionalPlacementTags":[],'
    b'"ProxyMemoryAllocationMB":0}\n'
)
METRICS = (
    b'{"cell_id":"c1","lrps":[{"instance_guid":"11111111-2222-3333-4444-5555","process_guid":"web","index":2,'
    b'"metric_guid":"m","cpu_usage_fraction":0.25,"disk_usage_bytes":1,"disk_quota_bytes":2,'
    b'"memory_usage_bytes":3,"memory_quota_bytes":4,"rx_bytes":5,"tx_bytes":6}],"tasks":[]}\n'
)
WORK = (
    b'{"LRPs":[{"process_guid":"big","index":0,"domain":"apps","PlacementTags":null,"VolumeDrivers":null,'
    b'"RootFs":"preloaded:stack","MemoryMB":5000,"DiskMB":1,"MaxPids":0}],'
    b'"Tasks":[{"TaskGuid":"t","Domain":"apps","RootFs":"docker:///x","MemoryMB":1,"DiskMB":1}],"cell_id":"c1"}'
)
REFUSED = (
    b'{"LRPs":[{"instance_guid":"","process_guid":"big","index":0,"domain":"apps","PlacementTags":null,'
    b'"VolumeDrivers":null,"RootFs":"preloaded:stack","MemoryMB":5000,"DiskMB":1,"MaxPids":0,"state":""}],'
    b'"Tasks":null}\n'
)
UPDATE = (
    b'{"instance_guid":"i","process_guid":"web","index":2,"domain":"apps",'
    b'"internal_routes":[{"hostname":"a.internal"}],"metric_tags":{"k":"v"}}'
)


class Exchange(NamedTuple):
    """server: as in the table of routes. content_type: of the answer, None when it must have none."""

    server: str
    method: str
    route: str
    body: bytes
    status: int
    answer: bytes
    content_type: str | None = None

    @property
    def path(self) -> str:
        return (
            self.route.replace(":process_guid", "web")
            .replace(":instance_guid", GUID)
            .replace(":task_guid", "t")
        )


NO_OUTCOMES = b'{"bbs_available":true,"journal_trouble":"","outcomes":[]}\n'
OWN = {"rep-admin": {("GET", "/outcomes")}, "rep": set[tuple[str, str]]()}
"""Routes that the original does not have."""
INSTANCE = "lrps/:process_guid/instances/:instance_guid"

EXCHANGES = [
    Exchange("rep-admin", "GET", "/ping", b"", 200, b""),
    Exchange("rep", "GET", "/state", b"", 200, STATE, JSON_AS_TEXT),
    Exchange("rep", "GET", "/container_metrics", b"", 200, METRICS, JSON_AS_TEXT),
    Exchange("rep", "POST", "/work", WORK, 200, REFUSED, JSON_AS_TEXT),
    Exchange("rep", "PUT", f"/v2/{INSTANCE}", UPDATE, 202, b""),
    Exchange("rep", "PUT", f"/v1/{INSTANCE}", UPDATE, 202, b""),
    Exchange("rep", "POST", "/v1/tasks/:task_guid/cancel", b"", 202, b""),
    Exchange("rep", "POST", f"/v1/{INSTANCE}/stop", b"", 202, b""),
    Exchange("rep", "POST", "/sim/reset", b"", 500, b""),
    Exchange("rep-admin", "GET", "/outcomes", b"", 200, NO_OUTCOMES, JSON_AS_TEXT),
    Exchange("rep-admin", "POST", "/evacuate", b"", 202, b'{"ping_path":"/ping"}', "application/json"),
]


class Cell:
    """Both listeners. tls: of them; plain HTTP without."""

    def __init__(self, executor: FakeExecutor, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        config = RepConfig(cell_id="c1", zone="z1", supported_providers=("docker",), placement_tags=("t",))
        identity = CellIdentity(
            config=config, rep_url="https://c1.cell:1801", stacks=StackMap({"stack": "/stacks/stack.tar"})
        )
        evacuation = EvacuationFlag()
        self.deletions = Deletions(executor, Removals())
        courier = idle_courier()
        network = NetworkRoutes(
            identity, executor, evacuation, self.deletions, RequestMetrics(), courier.ledger
        )
        self.applications = {
            "rep-admin": AdminRoutes(evacuation, courier).application(),
            "rep": network.application(),
        }
        self.urls: dict[str, str] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Cell]:
        async with (
            self.deletions.open(),
            listening(self.applications["rep-admin"], "127.0.0.1:0", self.tls) as admin,
            listening(self.applications["rep"], "127.0.0.1:0", self.tls) as network,
        ):
            scheme = "https" if self.tls else "http"
            self.urls = {
                "rep-admin": f"{scheme}://127.0.0.1:{admin.port}",
                "rep": f"{scheme}://127.0.0.1:{network.port}",
            }
            yield self


@pytest.mark.parametrize("server", ["rep", "rep-admin"])
def test_every_route_has_its_exchange_and_there_are_no_others(executor: FakeExecutor, server: str) -> None:
    asked = {(exchange.method, exchange.route) for exchange in EXCHANGES if exchange.server == server}
    assert asked == route_table(server) | OWN[server] == served_routes(Cell(executor).applications[server])


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "mutual TLS"])
async def test_every_route_answers_as_the_tables_say(
    executor: FakeExecutor, tls_identity: IdentityFiles, secured: bool
) -> None:
    identity = Identity(tls_identity) if secured else None
    running = lrp_container(
        ContainerState.RUNNING,
        memory_mb=64,
        disk_mb=128,
        run_info=RunInfo(root_fs="/stacks/stack.tar", metrics_config=MetricsConfig(guid="m")),
    )
    placed = {tags.PLACEMENT_TAGS: '["t"]', tags.VOLUME_DRIVERS: "[]"}
    executor.put(replace(running, tags={**running.tags, **placed}))
    executor.drivers = ["nfs"]
    executor.readings[GUID] = ContainerMetrics(
        cpu_percentage=25.0,
        disk_usage=1,
        disk_limit=2,
        memory_usage=3,
        memory_limit=4,
        rx_bytes=5,
        tx_bytes=6,
    )
    client_tls = identity.client_context() if identity else True
    async with (
        Cell(executor, identity.server_context() if identity else None).open() as cell,
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
    ):
        for exchange in EXCHANGES:
            url = cell.urls[exchange.server] + exchange.path
            async with session.request(exchange.method, url, data=exchange.body, ssl=client_tls) as answer:
                said = (answer.status, await answer.read(), answer.headers.get("Content-Type"))
            assert said == (exchange.status, exchange.answer, exchange.content_type), exchange.path
