"""The event stream: names, payloads, framing, end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bbs.client.api import BBSClient
from bbs.embedded.receptor.app import receptor_app
from bbs.embedded.receptor.events import UnknownEvent, to_receptor
from bbs.models.actual_lrp import ActualLRP, ActualLRPGroup, ActualLRPInstanceKey, ActualLRPKey, Presence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import (
    ActualLRPChangedEvent,
    ActualLRPCrashedEvent,
    ActualLRPCreatedEvent,
    ActualLRPRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
    TaskCreatedEvent,
)
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

Client: TypeAlias = TestClient[web.Request, web.Application]
WEB = DesiredLRP(process_guid="web")


def member(presence: Presence = Presence.ORDINARY, state: str = "RUNNING") -> ActualLRP:
    return ActualLRP(
        actual_lrp_key=ActualLRPKey(process_guid="web"),
        actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid=presence.name),
        presence=presence,
        state=state,
    )


ORDINARY = ActualLRPGroup(instance=member())
EVACUATING = ActualLRPGroup(evacuating=member(Presence.EVACUATING))


class Events:
    """A BBS whose group events come from a queue; None ends the stream, an error breaks it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | BBSError | None] = asyncio.Queue()
        self.left = asyncio.Event()

    @asynccontextmanager
    async def lrp_group_events(self, cell_id: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        try:
            yield self._events()
        finally:
            self.left.set()

    async def _events(self) -> AsyncIterator[Event]:
        while (event := await self.queue.get()) is not None:
            if isinstance(event, BBSError):
                raise event
            yield event


@pytest.fixture
def bbs() -> Events:
    return Events()


@pytest.fixture
async def client(bbs: Events) -> AsyncIterator[Client]:
    app = receptor_app(cast("BBSClient", bbs))
    server = TestServer(app, handler_cancellation=True)
    async with TestClient(server) as test_client, asyncio.timeout(PATIENCE_S):
        yield test_client


@pytest.mark.parametrize(
    ("event", "name", "keys"),
    [
        (DesiredLRPCreatedEvent(desired_lrp=WEB), "desired_lrp_created", ["desired_lrp"]),
        (DesiredLRPRemovedEvent(desired_lrp=WEB), "desired_lrp_removed", ["desired_lrp"]),
        (
            DesiredLRPChangedEvent(before=WEB, after=WEB),
            "desired_lrp_changed",
            ["desired_lrp_before", "desired_lrp_after"],
        ),
        (ActualLRPCreatedEvent(actual_lrp_group=ORDINARY), "actual_lrp_created", ["actual_lrp"]),
        (ActualLRPRemovedEvent(actual_lrp_group=ORDINARY), "actual_lrp_removed", ["actual_lrp"]),
        (
            ActualLRPChangedEvent(before=ORDINARY, after=ORDINARY),
            "actual_lrp_changed",
            ["actual_lrp_before", "actual_lrp_after"],
        ),
    ],
)
def test_names_and_payloads(event: Event, name: str, keys: list[str]) -> None:
    called, data = to_receptor(event)

    assert (called, list(data)) == (name, keys)
    assert {document["process_guid"] for document in data.values()} == {"web"}


@pytest.mark.parametrize(("after", "evacuating"), [(EVACUATING, True), (ORDINARY, False)])
def test_both_sides_of_a_change_are_as_evacuating_as_after(after: ActualLRPGroup, evacuating: bool) -> None:
    for before in (ORDINARY, EVACUATING):
        _, data = to_receptor(ActualLRPChangedEvent(before=before, after=after))

        assert [document["evacuating"] for document in data.values()] == [evacuating, evacuating]


def test_the_member_that_stands_for_the_index_is_shown() -> None:
    group = ActualLRPGroup(instance=member(state="CLAIMED"), evacuating=member(Presence.EVACUATING))

    _, data = to_receptor(ActualLRPCreatedEvent(actual_lrp_group=group))

    assert data["actual_lrp"]["instance_guid"] == "EVACUATING"


def test_tasks_have_no_place_here() -> None:
    with pytest.raises(UnknownEvent):
        to_receptor(TaskCreatedEvent())


def records(body: bytes) -> list[tuple[str, str, Any]]:
    found = []
    for record in body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in record.split("\n"))
        found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


async def test_the_stream_as_a_client_sees_it(client: Client, bbs: Events) -> None:
    async with client.get("/v1/events") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
        for event in (DesiredLRPCreatedEvent(desired_lrp=WEB), ActualLRPCrashedEvent()):
            bbs.queue.put_nowait(event)
        bbs.queue.put_nowait(ActualLRPCreatedEvent(actual_lrp_group=ORDINARY))
        bbs.queue.put_nowait(None)
        body = await answer.read()

    assert [(number, name) for number, name, _ in records(body)] == [
        ("0", "desired_lrp_created"),
        ("1", "actual_lrp_created"),
    ]


@pytest.mark.parametrize("last", [TaskCreatedEvent(), BBSError(ErrorType.Timeout)], ids=["unknown", "broken"])
async def test_an_unknown_event_and_a_lost_bbs_end_the_stream_cleanly(
    client: Client, bbs: Events, last: Event | BBSError
) -> None:
    async with client.get("/v1/events") as answer:
        bbs.queue.put_nowait(DesiredLRPCreatedEvent(desired_lrp=WEB))
        bbs.queue.put_nowait(last)

        assert len(records(await answer.read())) == 1

    await bbs.left.wait()


async def test_a_client_that_leaves_ends_its_subscription(client: Client, bbs: Events) -> None:
    answer = await client.get("/v1/events")
    answer.close()

    await bbs.left.wait()


async def test_shutting_down_ends_idle_streams_cleanly(client: Client, bbs: Events) -> None:
    async with client.get("/v1/events") as answer:
        await client.app.shutdown()

        assert await answer.read() == b""
    assert bbs.left.is_set()
