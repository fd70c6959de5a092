"""The HTTP API over a real socket, apart from the messages of the calls."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from bbs.client.http import HTTPBBSClient
from bbs.embedded.events.hub import BUFFER_BYTES, Hub, Notice, Stream
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, RunningData
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import (
    ActualLRPCreatedEvent,
    ActualLRPInstanceCreatedEvent,
    EventsByCellId,
    TaskCreatedEvent,
)
from bbs.models.task import Task, TaskDefinition
from bbs.wire import routes, sse
from bbs.wire.mapping import encode, to_wire
from tests.support.waiting import PATIENCE_S

RUNNING = RunningData(net_info=ActualLRPNetInfo(address="10.0.0.1"))

pytestmark = pytest.mark.unit

Http = TestClient[Any, Any]


@pytest.mark.parametrize(
    ("method", "path", "status", "text", "allow"),
    [
        ("POST", "/v1/nope", 404, "404 page not found\n", None),
        ("POST", "/v1/desired_lrp/desire", 404, "404 page not found\n", None),
        ("GET", "/v1/domains/list", 405, "Method Not Allowed\n", "POST"),
        ("POST", "/v1/events.r1", 405, "Method Not Allowed\n", "GET"),
        ("PUT", "/v1/tasks/list.r3", 405, "Method Not Allowed\n", "POST"),
    ],
)
async def test_what_is_no_call(
    http: Http, method: str, path: str, status: int, text: str, allow: str | None
) -> None:
    async with http.request(method, path) as answer:
        assert (answer.status, await answer.text(), answer.headers.get("Allow")) == (status, text, allow)
        assert answer.content_type == "text/plain"


async def test_every_call_of_the_table_is_served(http: Http) -> None:
    table = [route for route in vars(routes).values() if isinstance(route, routes.Route)]
    assert len(table) > 40
    for route in table:
        async with http.post(route.path, data=b"") as answer:
            assert (answer.status, answer.content_type) == (200, routes.MEDIA_TYPE), route.path
            route.response.FromString(await answer.read())


async def test_a_body_that_is_no_message_is_an_invalid_request(http: Http) -> None:
    async with http.post(routes.EVACUATE_RUNNING_ACTUAL_LRP.path, data=b"\xff\xff\xff") as answer:
        response = routes.EVACUATE_RUNNING_ACTUAL_LRP.response.FromString(await answer.read())
    assert response.error.message == "the request received is invalid"
    assert response.keep_container


async def test_a_stream_that_is_asked_wrongly_answers_500(http: Http) -> None:
    async with http.post(sse.LRP_INSTANCE_EVENTS.path, data=b"\xff\xff\xff") as answer:
        assert (answer.status, await answer.read()) == (500, b"")


async def test_a_streams_frames_are_exact(world: Any, http: Http, definition: TaskDefinition) -> None:
    server = http.server
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /v1/events/tasks.r1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    for header in (
        "Content-Type: text/event-stream; charset=utf-8",
        "Cache-Control: no-cache, no-store, must-revalidate",
        "Connection: keep-alive",
        "Transfer-Encoding: chunked",
    ):
        assert header in head

    for number in range(2):
        await world.bbs.controllers.tasks.desire(f"t{number}", "d", definition)
        size = int(await asyncio.wait_for(reader.readline(), PATIENCE_S), 16)
        chunk = await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
        assert chunk.startswith(b"id: %d\nevent: task_created\ndata: " % number)
        assert chunk.endswith(b"\n\n")

    world.bbs.hub.close()
    assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), PATIENCE_S) == b"0\r\n\r\n"
    writer.close()
    await writer.wait_closed()


async def test_a_get_stream_reads_the_filter_in_its_body(world: Any, http: Http) -> None:
    body = encode(to_wire(EventsByCellId(cell_id="c1")))
    async with http.get(sse.LRP_GROUP_EVENTS.path, data=body) as answer:
        for cell in ("c2", "c1"):
            key = ActualLRPKey(process_guid=cell, index=0, domain="d")
            instance = ActualLRPInstanceKey(instance_guid="i", cell_id=cell)
            async with client(http) as bbs:
                await bbs.start_actual_lrp(key, instance, RUNNING)
        world.bbs.hub.close()
        records = sse.Parser().feed(await answer.read())
    [event] = [sse.decode_record(record) for record in records]
    assert isinstance(event, ActualLRPCreatedEvent)
    assert event.actual_lrp_group is not None
    assert event.actual_lrp_group.instance is not None
    assert event.actual_lrp_group.instance.actual_lrp_instance_key.cell_id == "c1"


def client(http: Http) -> HTTPBBSClient:
    return HTTPBBSClient(str(http.make_url("/")).rstrip("/"))


async def test_our_client_goes_through_a_life(
    http: Http, world: Any, web_lrp: DesiredLRP, definition: TaskDefinition
) -> None:
    await world.register("c1")
    key = ActualLRPKey(process_guid="web", index=0, domain="apps")
    instance = ActualLRPInstanceKey(instance_guid="i", cell_id="c1")
    async with client(http) as bbs:
        assert await bbs.ping()
        assert [cell.cell_id for cell in await bbs.cells()] == ["c1"]
        await bbs.upsert_domain("apps", 60)
        assert await bbs.domains() == ["apps"]
        await bbs.desire_lrp(web_lrp)
        assert (await bbs.desired_lrp("web")).metrics_guid == "web"
        await bbs.claim_actual_lrp(key, instance)
        await bbs.start_actual_lrp(key, instance, RUNNING)
        [row] = await bbs.actual_lrps(cell_id="c1")
        assert (row.state, row.routable) == ("RUNNING", True)
        assert await bbs.evacuate_running_actual_lrp(key, instance, RUNNING)
        await bbs.update_desired_lrp("web", DesiredLRPUpdate(instances=0))
        await bbs.remove_desired_lrp("web")
        with pytest.raises(BBSError) as missing:
            await bbs.desired_lrp("web")
        assert missing.value.type == ErrorType.ResourceNotFound

        await bbs.desire_task("t", "apps", definition)
        assert await bbs.start_task("t", "c1")
        await bbs.complete_task("t", "c1", failed=False, failure_reason="", result="42")
        await world.bbs.settled()
        assert await bbs.tasks() == []
        world.clock.advance(61)
        assert await bbs.domains() == []


async def test_a_domain_without_ttl_stays(http: Http, world: Any) -> None:
    async with client(http) as bbs:
        await bbs.upsert_domain("apps", 0)
        world.clock.advance(10**8)
        assert await bbs.domains() == ["apps"]


def of_size(size: int) -> Notice:
    """A notice whose record has at least so many bytes."""
    return Notice(TaskCreatedEvent(task=Task(task_guid="t" * size)), frozenset({Stream.TASKS}))


async def test_a_subscriber_that_falls_behind_is_dropped_and_what_it_left_is_freed() -> None:
    hub = Hub()
    with hub.subscribe(Stream.TASKS) as slow, hub.subscribe(Stream.INSTANCES) as other:
        for _ in range(4):
            hub.publish([of_size(BUFFER_BYTES // 2)])
        assert (slow.exhausted, slow.waiting_bytes, other.exhausted) == (True, 0, False)


async def test_a_commit_of_any_size_reaches_a_subscriber_that_keeps_up() -> None:
    """1,025 events and more in one commit, also of more bytes than a buffer, end no stream."""
    hub = Hub()
    with hub.subscribe(Stream.TASKS) as eager:
        for _ in range(2):
            hub.publish([of_size(BUFFER_BYTES // 1000)] * 2000)
            taken = 0
            while await eager.next(0.01) is not None:
                taken += 1
            assert (taken, eager.exhausted) == (2000, False)


async def test_one_desire_of_1100_instances_ends_no_stream(http: Http, web_lrp: DesiredLRP) -> None:
    async with asyncio.timeout(60), client(http) as bbs, bbs.lrp_instance_events() as events:
        await bbs.desire_lrp(replace(web_lrp, instances=1100))
        created = 0
        async for event in events:
            created += isinstance(event, ActualLRPInstanceCreatedEvent)
            if created == 1100:
                break


async def test_subscribing_to_a_closed_hub_ends_at_once() -> None:
    hub = Hub()
    hub.close()
    with hub.subscribe(Stream.TASKS) as subscription:
        assert await subscription.next(1) is None
        assert subscription.exhausted


async def test_streams_of_a_closed_service_end(open_world: Any) -> None:
    async with (
        open_world() as world,
        TestClient(TestServer(world.bbs.app)) as http,
        http.post(sse.TASK_EVENTS.path) as answer,
    ):
        world.bbs.hub.close()
        assert await answer.read() == b""
