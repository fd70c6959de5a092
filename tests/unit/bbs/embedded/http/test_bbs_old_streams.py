"""Event streams for old clients, compared with recorded ones."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from bbs.embedded.calls.startrequests import TaskStartRequest
from bbs.embedded.service import run_bbs
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.events import EVENT_TYPES
from bbs.models.task import TaskDefinition
from bbs.wire import sse
from bbs.wire.mapping import to_model
from bbs.wire.messages import message_class
from tests.support.paths import GOLDEN_FILES
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

VIEWS = GOLDEN_FILES / "wire" / "events" / "views"


def recorded(stream: str, event: str) -> Any:
    """The first recorded event of that name."""
    events = json.loads((VIEWS / f"{stream}.json").read_text())["response"]["events"]
    found = next(one for one in events if one["event"] == event)
    return message_class(found["message"]).FromString(base64.b64decode(found["data_base64"]))


def heard(body: bytes) -> dict[str, Message]:
    """The first event of each name in a stream."""
    found: dict[str, Message] = {}
    for record in sse.Parser().feed(body):
        cls = message_class(EVENT_TYPES[record.event].__name__)
        found.setdefault(record.event, cls.FromString(base64.b64decode(record.data)))
    return found


def said(message: Message) -> Any:
    """An event without times, random tags and traces."""
    told = MessageToDict(message, preserving_proto_field_name=True)
    told.pop("trace_id", None)
    for record in told.values():
        for name in ("modification_tag", "created_at", "updated_at"):
            record.pop(name, None)
    return told


@pytest.mark.parametrize("suffix", ["", ".r1"])
async def test_lrps_as_recorded(world: Any, http: TestClient[Any, Any], suffix: str) -> None:
    lrp = to_model(recorded("events-lrp_instances.r1", "desired_lrp_created").desired_lrp, DesiredLRP)
    async with http.post(f"/v1/events/lrp_instances{suffix}") as answer:
        await world.bbs.controllers.desired.desire(lrp, "")
        await world.bbs.controllers.desired.update(lrp.process_guid, DesiredLRPUpdate(instances=3), "")
        await world.bbs.controllers.desired.remove(lrp.process_guid, "")
        world.bbs.hub.close()
        events = heard(await answer.read())
    expected = said(recorded(f"events-lrp_instances{suffix}", "desired_lrp_created"))
    assert said(events["desired_lrp_created"]) == expected
    changed = said(events["desired_lrp_changed"])
    assert changed["before"] == expected["desired_lrp"]
    assert changed["after"] == expected["desired_lrp"] | {"instances": 3}
    assert said(events["desired_lrp_removed"])["desired_lrp"] == changed["after"]


@pytest.mark.parametrize("suffix", ["", ".r1"])
async def test_tasks_as_recorded(world: Any, http: TestClient[Any, Any], suffix: str) -> None:
    task = recorded("events-tasks.r1", "task_created").task
    definition = to_model(task.task_definition, TaskDefinition)
    async with http.post(f"/v1/events/tasks{suffix}") as answer:
        await world.bbs.controllers.tasks.desire(task.task_guid, task.domain, definition)
        await world.bbs.controllers.tasks.start(task.task_guid, "c1")
        world.bbs.hub.close()
        events = heard(await answer.read())
    expected = said(recorded(f"events-tasks{suffix}", "task_created"))
    assert said(events["task_created"]) == expected
    assert said(events["task_changed"])["before"] == expected["task"]


async def test_convergence_comes_round_by_itself(
    tmp_path: Path, world: Any, definition: TaskDefinition
) -> None:
    rounds: asyncio.Queue[str] = asyncio.Queue()

    async def note(request: TaskStartRequest) -> None:
        await rounds.put(request.task_guid)

    world.auctioneer.on_task = note
    async with run_bbs(
        tmp_path / "other",
        auctioneer=world.auctioneer,
        reps=world.reps,
        callbacks=world.callbacks,
        convergence_interval_s=0.01,
    ) as bbs:
        await bbs.controllers.tasks.desire("t", "d", definition)
        async with asyncio.timeout(PATIENCE_S):
            assert [await rounds.get() for _ in range(3)] == ["t", "t", "t"]
