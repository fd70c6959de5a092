"""Subscriptions to event streams: requests, events, and broken streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

from bbs.client.api import BBSClient
from bbs.client.transport import EndpointNotFoundError, Policy, UnansweredError
from bbs.models.events import Event, TaskCreatedEvent, TaskRemovedEvent
from bbs.models.task import Task
from bbs.wire import sse
from bbs.wire.sse import Parser, encode_event, number_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.bbs.client.conftest import Kind, ScriptedServer

pytestmark = pytest.mark.unit

CREATED = TaskCreatedEvent(task=Task(task_guid="t"))
REMOVED = TaskRemovedEvent(task=Task(task_guid="t"))
END = b"0;\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x};\r\n".encode() + data + b"\r\n"


def chunks(*events: Event) -> bytes:
    return b"".join(chunk(number_record(number, encode_event(event))) for number, event in enumerate(events))


async def all_of(subscription: AbstractAsyncContextManager[AsyncIterator[Event]]) -> list[Event]:
    async with subscription as events:
        return [event async for event in events]


@pytest.mark.parametrize(
    ("subscribe", "method", "path", "body"),
    [
        (lambda c: c.lrp_instance_events(), "POST", "/v1/events/lrp_instances.r1", b""),
        (lambda c: c.lrp_instance_events("c"), "POST", "/v1/events/lrp_instances.r1", b"\x0a\x01c"),
        (lambda c: c.lrp_group_events(), "GET", "/v1/events.r1", b""),
        (lambda c: c.lrp_group_events("c"), "GET", "/v1/events.r1", b"\x0a\x01c"),
        (lambda c: c.task_events(), "POST", "/v1/events/tasks.r1", b""),
    ],
)
async def test_the_request(
    server: ScriptedServer,
    client: BBSClient,
    subscribe: Callable[[BBSClient], AbstractAsyncContextManager[AsyncIterator[Event]]],
    method: str,
    path: str,
    body: bytes,
) -> None:
    server.stream(END, then="close")
    assert await all_of(subscribe(client)) == []
    (request,) = server.requests
    assert (request.method, request.path, request.body) == (method, path, body)
    assert "Content-Type" not in request.headers
    assert "X-Vcap-Request-Id" not in request.headers
    assert ("Content-Length" in request.headers) is (method == "POST" or bool(body))


async def test_events_arrive_until_the_server_ends_the_stream(
    server: ScriptedServer, client: BBSClient, pauses: list[float]
) -> None:
    server.stream(chunks(CREATED, REMOVED) + END, then="close")
    assert await all_of(client.task_events()) == [CREATED, REMOVED]
    assert (len(server.requests), pauses) == (1, [])


async def test_subscribing_returns_before_any_event(server: ScriptedServer, client: BBSClient) -> None:
    server.stream(b"", then="hang")
    async with client.task_events():
        assert len(server.requests) == 1


async def test_an_informational_response_comes_before_the_real_one(
    server: ScriptedServer, client: BBSClient
) -> None:
    server.stream(chunks(CREATED) + END, then="close")
    server.replies[0] = dataclasses.replace(
        server.replies[0], data=b"HTTP/1.1 103 Early Hints\r\n\r\n" + server.replies[0].data
    )
    assert await all_of(client.task_events()) == [CREATED]


async def test_events_arrive_while_the_stream_stays_open(server: ScriptedServer, client: BBSClient) -> None:
    server.stream(chunks(CREATED, REMOVED), then="hang")
    async with client.task_events() as events:
        assert [await anext(events), await anext(events)] == [CREATED, REMOVED]


async def test_an_event_that_cannot_be_read_is_skipped(
    server: ScriptedServer, client: BBSClient, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = chunk(b"id: 1\nevent: domain_created\ndata: CgFk\n\n")
    unreadable = chunk(b"id: 2\nevent: task_created\ndata: %%%\n\n")
    server.stream(unknown + chunks(CREATED) + unreadable + chunks(REMOVED) + END, then="close")
    assert await all_of(client.task_events()) == [CREATED, REMOVED]
    assert [record.message for record in caplog.records] == ["event-skipped", "event-skipped"]


@pytest.mark.parametrize("kept", [0, 1, 5, 30, 45])
async def test_a_stream_that_breaks_is_opened_again(
    server: ScriptedServer, client: BBSClient, pauses: list[float], kept: int
) -> None:
    lost = chunks(TaskCreatedEvent(task=Task(task_guid="lost")))
    assert kept < len(lost)
    server.stream(chunks(CREATED) + lost[:kept], then="close")
    server.stream(chunks(REMOVED) + END, then="close")
    assert await all_of(client.task_events()) == [CREATED, REMOVED]
    assert (len(server.requests), pauses) == (2, [])


async def test_a_subscriber_learns_of_a_break_before_the_next_event(
    server: ScriptedServer, client: BBSClient
) -> None:
    """Events may have been lost in it."""
    server.stream(chunks(CREATED), then="close")
    server.stream(chunks(REMOVED) + END, then="close")
    seen: list[object] = []
    async with client.lrp_instance_events(reopened=lambda: seen.append("reopened")) as events:
        seen += [await anext(events)]
        seen += [await anext(events)]
    assert seen == [CREATED, "reopened", REMOVED]


async def test_a_server_that_takes_subscriptions_and_cuts_them_is_not_asked_in_a_loop(
    server: ScriptedServer, client: BBSClient, pauses: list[float]
) -> None:
    """A proxy without a BBS behind it answers 200 and hangs up: pauses grow until an event comes."""
    for _ in range(4):
        server.stream(b"", then="close")
    server.stream(chunks(CREATED), then="close")
    server.stream(chunks(REMOVED) + END, then="close")
    assert await all_of(client.task_events()) == [CREATED, REMOVED]
    assert_backed_off(pauses, 3)


async def test_a_server_that_never_answers_a_subscription_is_asked_again(
    server: ScriptedServer, kind: Kind, policy: Policy, pauses: list[float]
) -> None:
    for _ in range(5):
        server.hang()
    server.stream(chunks(CREATED) + END, then="close")
    async with kind(server.url, policy=dataclasses.replace(policy, request_timeout_s=0.05)) as client:
        assert await all_of(client.task_events()) == [CREATED]
    assert len(pauses) >= 5


async def test_a_record_without_end_breaks_the_stream(
    server: ScriptedServer, client: BBSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not end, a line or the lines of a record, is not kept for ever."""
    monkeypatch.setattr(sse, "RECORD_BYTES", 10_000)
    server.stream(chunk(b"data: " + b"A" * 10_001), then="hang")
    server.stream(chunk(b"data: A\n" * 2000), then="hang")
    server.stream(chunks(CREATED) + END, then="close")
    assert await all_of(client.task_events()) == [CREATED]
    assert len(server.requests) == 3


def test_a_long_line_costs_as_much_as_it_is_long() -> None:
    """The parser does not copy what it has for each piece that comes."""
    parser = Parser()
    piece = b"A" * 1000
    assert parser.feed(b"event: x\ndata: ") == []
    for _ in range(20_000):
        assert parser.feed(piece) == []
    (record,) = parser.feed(b"\n\n")
    assert (record.event, len(record.data)) == ("x", 20_000_000)


async def test_the_name_of_an_unknown_event_is_logged_in_part(
    server: ScriptedServer, client: BBSClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.stream(chunk(b"event: " + b"x" * 5000 + b"\ndata: CgFk\n\n") + END, then="close")
    assert await all_of(client.task_events()) == []
    (record,) = caplog.records
    assert len(str(vars(record)["data"])) < 500


def assert_backed_off(pauses: list[float], count: int) -> None:
    """Random pauses, at most 1, 2, 4, 4 ... s: clients of a BBS that restarts do not come back in step."""
    longest = [min(4.0, 2.0**number) for number in range(count)]
    assert len(pauses) == count
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, longest, strict=True))


async def test_a_server_that_hangs_up_on_a_subscription_is_asked_again(
    server: ScriptedServer, client: BBSClient, pauses: list[float]
) -> None:
    server.hang_up()
    server.stream(chunks(CREATED) + END, then="close")
    assert await all_of(client.task_events()) == [CREATED]
    assert_backed_off(pauses, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_that_is_not_ready_is_asked_again_without_end(
    server: ScriptedServer, client: BBSClient, pauses: list[float], status: int
) -> None:
    for _ in range(20):
        server.answer(b"", status=status, media_type="text/plain")
    server.stream(chunks(CREATED) + END, then="close")
    assert await all_of(client.task_events()) == [CREATED]
    assert_backed_off(pauses, 20)


@pytest.mark.parametrize(("status", "error"), [(404, EndpointNotFoundError), (401, UnansweredError)])
async def test_other_answers_are_final(
    server: ScriptedServer, client: BBSClient, status: int, error: type[UnansweredError]
) -> None:
    server.answer(b"", status=status, media_type="text/plain")
    with pytest.raises(error, match=f"/v1/events/tasks.r1: Invalid Response with status code: {status}"):
        await all_of(client.task_events())
    assert len(server.requests) == 1


async def test_nobody_there(unused_tcp_port: int, policy: Policy, kind: Kind, pauses: list[float]) -> None:
    async with kind(f"http://127.0.0.1:{unused_tcp_port}", policy=policy) as client:
        with pytest.raises(UnansweredError, match=r"tasks\.r1: ConnectionRefusedError"):
            await all_of(client.task_events())
    assert_backed_off(pauses, 3)


async def test_a_stream_that_breaks_and_cannot_be_had_again_ends_in_an_error(
    server: ScriptedServer, client: BBSClient
) -> None:
    server.stream(chunks(CREATED), then="close")
    server.not_found()
    async with client.task_events() as events:
        assert await anext(events) == CREATED
        with pytest.raises(EndpointNotFoundError):
            await anext(events)
