"""Every route of the Receptor API of 2015 once: requests and answers as text.

The Receptor is a client of a real BBS. The exchanges build on each other; ``?`` stands for an unpredictable
value (a time, a random tag).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from bbs.client.http import HTTPBBSClient
from bbs.embedded.receptor.app import receptor_app
from bbs.models.actual_lrp import (
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    RunningData,
)
from tests.support.routes import route_table, served_routes

if TYPE_CHECKING:
    from tests.unit.bbs.embedded.conftest import World

pytestmark = pytest.mark.unit

Http = TestClient[Any, Any]

RUN = '{"run":{"path":"/x","user":"vcap"}}'
TASK = f'{{"task_guid":"t","domain":"d","rootfs":"docker:///job","action":{RUN}}}'
TASK_SHOWN = (
    '{"action":{"run":{"path":"/x","user":"vcap"}},"completion_callback_url":"","cpu_weight":0,"disk_mb":0,'
    '"domain":"d","log_guid":"","log_source":"","memory_mb":0,"metrics_guid":"","privileged":false,'
    '"result_file":"","rootfs":"docker:///job","task_guid":"t","cell_id":"","created_at":"?","failed":false,'
    '"failure_reason":"","result":"","state":"PENDING"}'
)
LRP = (
    '{"process_guid":"web","domain":"d","rootfs":"docker:///app","instances":1,"ports":[8080],'
    f'"routes":{{"cf-router":[1]}},"start_timeout":5,"action":{RUN}}}'
)
LRP_SHOWN = (
    '{"process_guid":"web","domain":"d","rootfs":"docker:///app","instances":1,"setup":null,'
    '"action":{"run":{"path":"/x","user":"vcap"}},"monitor":null,"start_timeout":5,"disk_mb":0,"memory_mb":0,'
    '"cpu_weight":0,"privileged":false,"ports":[8080],"routes":{"cf-router":[1]},"log_guid":"",'
    '"log_source":"","metrics_guid":"web","modification_tag":{"epoch":"?","index":0}}'
)
ACTUAL_SHOWN = (
    '{"process_guid":"web","instance_guid":"i","cell_id":"c1","domain":"d","index":0,"address":"10.0.0.1",'
    '"ports":[{"container_port":8080,"host_port":61001}],"state":"RUNNING","crash_count":0,"since":"?",'
    '"evacuating":false,"modification_tag":{"epoch":"?","index":1}}'
)
CELL_SHOWN = (
    '{"cell_id":"c1","zone":"z1","capacity":{"memory_mb":1024,"disk_mb":1024,"containers":10},'
    '"rootfs_providers":{"docker":[]}}'
)
VERSION_SHOWN = (
    '{"cf_release":"","cf_routing_release":"","diego_release":"","garden_linux_release":"",'
    '"lattice_release":"","lattice_release_image":"","ltc":"","receptor":""}'
)
JSON = "application/json"


class Exchange(NamedTuple):
    """path: as asked for, where it differs from the route."""

    method: str
    route: str
    body: str
    status: int
    answer: str
    content_type: str | None = None
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()


GUID = "/v1/desired_lrps/:process_guid"
INDEX = "/v1/actual_lrps/:process_guid/index/:index"

STORY = [
    Exchange("GET", "/v1/version", "", 200, VERSION_SHOWN, JSON),
    Exchange("POST", "/v1/auth_cookie", "", 204, ""),
    Exchange("GET", "/v1/cells", "", 200, f"[{CELL_SHOWN}]", JSON),
    Exchange(
        "PUT",
        "/v1/domains/:domain",
        "",
        204,
        "",
        path="/v1/domains/d",
        headers=(("Cache-Control", "max-age=60"),),
    ),
    Exchange("GET", "/v1/domains", "", 200, '["d"]', JSON),
    Exchange("POST", "/v1/desired_lrps", LRP, 201, ""),
    Exchange("GET", "/v1/desired_lrps", "", 200, f"[{LRP_SHOWN}]", JSON, path="/v1/desired_lrps?domain=d"),
    Exchange("GET", GUID, "", 200, LRP_SHOWN, JSON, path="/v1/desired_lrps/web"),
    Exchange("PUT", GUID, '{"instances":2}', 204, "", path="/v1/desired_lrps/web"),
    Exchange("DELETE", INDEX, "", 204, "", path="/v1/actual_lrps/web/index/1"),
    Exchange("GET", "/v1/actual_lrps", "", 200, f"[{ACTUAL_SHOWN}]", JSON),
    Exchange(
        "GET",
        "/v1/actual_lrps/:process_guid",
        "",
        200,
        f"[{ACTUAL_SHOWN}]",
        JSON,
        path="/v1/actual_lrps/web",
    ),
    Exchange("GET", INDEX, "", 200, ACTUAL_SHOWN, JSON, path="/v1/actual_lrps/web/index/0"),
    Exchange("DELETE", GUID, "", 204, "", path="/v1/desired_lrps/web"),
    Exchange("POST", "/v1/tasks", TASK, 201, ""),
    Exchange("GET", "/v1/tasks", "", 200, f"[{TASK_SHOWN}]", JSON),
    Exchange("GET", "/v1/tasks/:task_guid", "", 200, TASK_SHOWN, JSON, path="/v1/tasks/t"),
    Exchange("POST", "/v1/tasks/:task_guid/cancel", "", 200, "", path="/v1/tasks/t/cancel"),
    Exchange("DELETE", "/v1/tasks/:task_guid", "", 200, "", path="/v1/tasks/t"),
]
EVENT_STREAM = ("GET", "/v1/events")
ROUTES = route_table("receptor") - {("GET", "/v1/sync/:arch/:artifact")}
"""Without the programs of Lattice, which this server does not distribute."""


def test_the_story_calls_every_route() -> None:
    assert {(exchange.method, exchange.route) for exchange in STORY} | {EVENT_STREAM} == ROUTES


def read(text: str, content_type: str | None) -> Any:
    """An answer; the order of keys says nothing."""
    return json.loads(text) if content_type == JSON else text


def unknown_left_out(text: str) -> str:
    """The answer without its unpredictable values."""
    text = re.sub(r'"(created_at|since)":\d{15,}', r'"\1":"?"', text)
    return re.sub(r'"epoch":"[0-9a-f-]{36}"', '"epoch":"?"', text)


@pytest.fixture
async def bbs(world: World) -> AsyncIterator[HTTPBBSClient]:
    """A client of the BBS, as the Receptor has one."""
    server = TestServer(world.bbs.app)
    async with server, HTTPBBSClient(str(server.make_url("")).rstrip("/")) as client:
        yield client


@pytest.fixture
async def receptor(bbs: HTTPBBSClient) -> AsyncIterator[Http]:
    application = receptor_app(bbs)
    assert served_routes(application) == ROUTES
    async with TestClient(TestServer(application)) as client:
        yield client


async def test_every_route_answers_as_in_2015(world: World, bbs: HTTPBBSClient, receptor: Http) -> None:
    await world.register("c1")
    said, expected = [], []
    async with receptor.get(EVENT_STREAM[1]) as stream:
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        for exchange in STORY:
            path = exchange.path or exchange.route
            headers = dict(exchange.headers)
            async with receptor.request(
                exchange.method, path, data=exchange.body.encode(), headers=headers
            ) as answer:
                text = unknown_left_out(await answer.text())
                kind = typed(answer)
            said.append((exchange.method, path, answer.status, kind, read(text, kind)))
            kind = exchange.content_type
            expected.append((exchange.method, path, exchange.status, kind, read(exchange.answer, kind)))
            if exchange.route == "/v1/desired_lrps" and exchange.method == "POST":
                await bbs.start_actual_lrp(*RUNNING)
        await world.bbs.settled()
        world.bbs.hub.close()
        events = await stream.read()
    assert said == expected
    check_events(events.decode())


RUNNING = (
    ActualLRPKey(process_guid="web", index=0, domain="d"),
    ActualLRPInstanceKey(instance_guid="i", cell_id="c1"),
    RunningData(
        net_info=ActualLRPNetInfo(
            address="10.0.0.1", ports=(PortMapping(container_port=8080, host_port=61001),)
        )
    ),
)


def typed(answer: ClientResponse) -> str | None:
    """The declared type of an answer that has a body."""
    return answer.headers.get("Content-Type") if answer.headers.get("Content-Length", "0") != "0" else None


EVENTS = {
    f"{kind}_{what}": [kind] if what != "changed" else [f"{kind}_before", f"{kind}_after"]
    for kind in ("desired_lrp", "actual_lrp")
    for what in ("created", "changed", "removed")
}


def check_events(text: str) -> None:
    """Each of the six, framed as then, with plain JSON of its members."""
    records = re.findall(r"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n", text)
    assert "".join("id: {}\nevent: {}\ndata: {}\n\n".format(*record) for record in records) == text
    assert [int(number) for number, _, _ in records] == list(range(len(records)))
    assert {name: [*json.loads(data)] for _, name, data in records} == EVENTS
