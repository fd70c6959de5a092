"""Replay of recorded conversations with a BBS: same requests, equivalent answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from google.protobuf.json_format import MessageToDict

from bbs.embedded.calls.startrequests import LRPStartRequest, TaskStartRequest
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.auction import Demand
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import TaskDefinition
from bbs.wire.mapping import to_model
from bbs.wire.messages import message_class
from bbs.wire.proto import actual_lrp_requests_pb2 as actual_pb2
from bbs.wire.proto import desired_lrp_requests_pb2 as desired_pb2
from bbs.wire.proto import task_requests_pb2 as task_pb2
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

REPLIES = GOLDEN_FILES / "wire" / "bbs-replies"

CONVERGE_BEFORE = {"suspect/list-suspect"}
"""The recording waited for a round of convergence here."""

REMOVE_DESIRED_BEFORE = {"evacuation/list-after-desired-removed": "golden-ev"}
"""The desired LRP was removed here by other means."""

DIFFERENT_SINCE = {"invalid-lrp/egress-icmpv6", "http/actual-by-guids"}
"""Refused by the recorded version, or unknown to it; not so by later ones."""

HEADERS = ("Content-Type", "Allow", "X-Content-Type-Options")

FILES = (
    "transition",
    "task",
    "evacuation",
    "suspect",
    "not-found",
    "invalid",
    "invalid-lrp",
    "invalid-task",
    "invalid-update",
)


@pytest.fixture(params=["plain HTTP", "mutual TLS"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def records(name: str) -> list[dict[str, Any]]:
    found = json.loads((REPLIES / f"{name}.json").read_text())
    return found if isinstance(found, list) else found["records"]


def meaning(message_name: str, body: bytes) -> Any:
    """A message without what differs from run to run."""
    message = message_class(message_name).FromString(body)
    return _masked(MessageToDict(message, preserving_proto_field_name=True))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        hidden = {"since", "epoch", "created_at", "updated_at", "first_completed_at"}
        return {key: "*" if key in hidden and item else _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((_masked(item) for item in value), key=json.dumps)
    return value


async def forget_everything(world: Any) -> None:
    """The recordings about validation began each request without a trace of the one before."""

    def work(tables: Tables) -> None:
        for lrp in tables.desired_lrps():
            tables.delete_desired_lrp(lrp, "")
        for task in tables.tasks():
            tables.delete_task(task)

    await world.bbs.controllers.deps.store.run(work)


def nobody_fits(world: Any, lrp_text: Callable[[Demand], str], task_text: Callable[[Demand], str]) -> None:
    """An auctioneer that finds no place for anything, and says so at once."""
    lrps, tasks = world.bbs.controllers.lrps, world.bbs.controllers.tasks

    async def fail(request: LRPStartRequest) -> None:
        for index in request.indices:
            key = ActualLRPKey(process_guid=request.process_guid, index=index, domain=request.domain)
            await lrps.fail(key, lrp_text(request.demand))

    async def reject(request: TaskStartRequest) -> None:
        await tasks.reject(request.task_guid, task_text(request.demand))

    world.auctioneer.on_lrp, world.auctioneer.on_task = fail, reject


def no_cell_with_tag(demand: Demand) -> str:
    return f'found no compatible cell with placement tag "{(demand.placement_tags or ("?",))[0]}"'


async def ask_as_recorded(http: TestClient[Any, Any], record: dict[str, Any]) -> None:
    """Send a recorded request and compare the answer."""
    step, asked, answered = record["name"], record["request"], record["response"]
    body = base64.b64decode(asked["body_base64"])
    async with http.request(asked["method"], asked["path"], data=body) as answer:
        got = await answer.read()
    expected = base64.b64decode(answered["body_base64"])
    assert answer.status == answered["status"], step
    headers = {name: value for name, value in answered["headers"] if name in HEADERS}
    assert {name: value for name, value in answer.headers.items() if name in HEADERS} == headers, step
    if "message" not in answered:
        assert got == expected, step
        return
    assert meaning(answered["message"], got) == meaning(answered["message"], expected), step


async def test_what_is_no_call_is_answered_as_recorded(world: Any, http: TestClient[Any, Any]) -> None:
    await world.freshen("golden")
    for record in records("http"):
        if record["name"] not in DIFFERENT_SINCE:
            await ask_as_recorded(http, record)


async def test_a_quiet_bbs_answers_as_recorded(world: Any, http: TestClient[Any, Any]) -> None:
    presences = json.loads((REPLIES.parent / "locket" / "presence-values.json").read_text())
    await world.register_presence(presences["cell-ref-0"])
    await world.freshen("golden")
    for record in records("ok"):
        await ask_as_recorded(http, record)


@pytest.mark.parametrize("name", FILES)
async def test_answers_as_recorded(name: str, world: Any, http: TestClient[Any, Any]) -> None:
    nobody_fits(world, no_cell_with_tag, no_cell_with_tag)
    for record in records(name):
        step = record["name"]
        if step in DIFFERENT_SINCE:
            continue
        if step in CONVERGE_BEFORE:
            await world.converge()
        if step in REMOVE_DESIRED_BEFORE:
            await world.bbs.controllers.desired.remove(REMOVE_DESIRED_BEFORE[step], "")
        if name.startswith("invalid-"):
            await forget_everything(world)
        await ask_as_recorded(http, record)
        await world.bbs.settled()


async def test_every_view_as_recorded(world: Any, http: TestClient[Any, Any]) -> None:
    """One rich LRP and one rich task, taken from their full views and then looked at from all sides."""
    story = records("view")
    shown = {record["name"]: base64.b64decode(record["response"]["body_base64"]) for record in story}
    lrp = desired_pb2.DesiredLRPResponse.FromString(shown["view/desired-get-r3"]).desired_lrp
    task = task_pb2.TaskResponse.FromString(shown["view/task-get-r3"]).task
    row = actual_pb2.ActualLRPsResponse.FromString(shown["view/actual-list-index"]).actual_lrps[0]
    nobody_fits(world, lambda _: row.placement_error.decode(), lambda _: task.rejection_reason.decode())
    await world.bbs.controllers.desired.desire(to_model(lrp, DesiredLRP), "")
    await world.bbs.controllers.tasks.desire(
        task.task_guid, task.domain, to_model(task.task_definition, TaskDefinition)
    )
    await world.bbs.settled()
    for record in story:
        await ask_as_recorded(http, record)
