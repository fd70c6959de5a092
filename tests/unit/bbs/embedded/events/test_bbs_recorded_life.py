"""Replay of recorded lives of LRPs and Tasks: the same events on every stream.

The calls are derived from the events.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict

from bbs.embedded.events.hub import Stream, Subscription
from bbs.embedded.http.streams import old_form
from bbs.models.actual_lrp import ActualLRP, ActualLRPKey, RunningData
from bbs.models.desired_lrp import DesiredLRPUpdate
from bbs.models.events import (
    ActualLRPCrashedEvent,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
    TaskChangedEvent,
    TaskCreatedEvent,
    TaskRemovedEvent,
)
from bbs.models.task import Task, TaskState
from bbs.wire.mapping import decode, to_model, to_wire
from bbs.wire.messages import message_class
from bbs.wire.proto.events_pb2 import EventsByCellId
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.unit.bbs.embedded.conftest import World

pytestmark = pytest.mark.unit

LIFE = GOLDEN_FILES / "wire" / "events" / "life"
CANCELLED = "task was cancelled"
HIDDEN = {
    "since": "*",
    "epoch": "*",
    "created_at": "*",
    "updated_at": "*",
    "first_completed_at": "*",
}


def recorded(stream: str) -> list[Event]:
    events = json.loads((LIFE / f"{stream}.json").read_text())["response"]["events"]
    return [
        to_model(decode(message_class(event["message"]), base64.b64decode(event["data_base64"])))
        for event in events
    ]


def said(event: Event) -> tuple[str, Any]:
    message = MessageToDict(to_wire(event), preserving_proto_field_name=True)
    return type(event).__name__, masked(message)


def masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: HIDDEN.get(key, masked(item)) for key, item in value.items() if key != "trace_id"}
    return [masked(item) for item in value] if isinstance(value, list) else value


class Teller:
    """Makes the calls behind recorded events; a call may have made several of them."""

    def __init__(self, world: World, subscription: Subscription) -> None:
        self._world = world
        self._subscription = subscription
        self._ended: dict[ActualLRPKey, ActualLRP] = {}
        self.heard: list[tuple[str, Any]] = []

    async def tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ActualLRPInstanceRemovedEvent) and event.actual_lrp is not None:
                self._ended[event.actual_lrp.actual_lrp_key] = event.actual_lrp
        for position, event in enumerate(events):
            if len(self.heard) > position:
                continue  # came with an earlier one
            cause = self._cause(event) or self._cause(_next_desired(events[position:]))
            assert cause is not None, event
            await cause
            await self._world.bbs.settled()
            await self._listen()

    async def _listen(self) -> None:
        while (event := await self._subscription.next(0.01)) is not None:
            self.heard.append(said(event))

    def _cause(self, event: Event) -> Awaitable[object] | None:
        controllers = self._world.bbs.controllers
        lrps, desired, tasks = controllers.lrps, controllers.desired, controllers.tasks
        match event:
            case DesiredLRPCreatedEvent(desired_lrp=lrp) if lrp:
                return desired.desire(lrp, "")
            case DesiredLRPRemovedEvent(desired_lrp=lrp) if lrp:
                return desired.remove(lrp.process_guid, "")
            case DesiredLRPChangedEvent(after=lrp) if lrp:
                update = DesiredLRPUpdate(
                    instances=lrp.instances, routes=lrp.routes, annotation=lrp.annotation
                )
                return desired.update(lrp.process_guid, update, "")
            case ActualLRPInstanceCreatedEvent(actual_lrp=row) if row and row.crash_count:
                return self._converge()
            case ActualLRPInstanceRemovedEvent(actual_lrp=row) if row:
                key = row.actual_lrp_key
                return lrps.remove(key.process_guid, key.index, row.actual_lrp_instance_key)
            case ActualLRPCrashedEvent():
                return lrps.crash(event.actual_lrp_key, event.actual_lrp_instance_key, event.crash_reason)
            case ActualLRPInstanceChangedEvent():
                return self._changed(event)
            case TaskCreatedEvent(task=task) if task and task.task_definition:
                return tasks.desire(task.task_guid, task.domain, task.task_definition)
            case TaskRemovedEvent(task=task) if task:
                return tasks.delete(task.task_guid)
            case TaskChangedEvent(before=before, after=after) if before and after:
                return self._task_changed(before, after)

        return None

    def _changed(self, event: ActualLRPInstanceChangedEvent) -> Awaitable[object]:
        lrps, key, instance = (
            self._world.bbs.controllers.lrps,
            event.actual_lrp_key,
            event.actual_lrp_instance_key,
        )
        after = event.after
        assert after is not None
        match after.state:
            case "CLAIMED":
                return lrps.claim(key.process_guid, key.index, instance)
            case "RUNNING":
                # changes omit routes and tags; the removal of a row contains them
                ended = self._ended.get(key, ActualLRP())
                data = RunningData(
                    net_info=after.actual_lrp_net_info,
                    internal_routes=ended.actual_lrp_internal_routes,
                    metric_tags=ended.metric_tags,
                    routable=bool(after.routable),
                    availability_zone=after.availability_zone,
                )
                return lrps.start(key, instance, data)
            case _:
                return lrps.fail(key, after.placement_error)

    async def _converge(self) -> None:
        self._world.clock.advance(31)
        await self._world.converge()

    def _task_changed(self, before: Task, after: Task) -> Awaitable[object]:
        tasks = self._world.bbs.controllers.tasks
        match before.state, after.state:
            case TaskState.Pending, TaskState.Running:
                return tasks.start(after.task_guid, after.cell_id)
            case _, TaskState.Resolving:
                return tasks.resolving(after.task_guid)
            case _, TaskState.Pending:
                return tasks.reject(after.task_guid, after.rejection_reason)
            case _ if after.failure_reason == CANCELLED:
                return tasks.cancel(after.task_guid, "")
            case _:
                return tasks.complete(
                    after.task_guid,
                    before.cell_id,
                    failed=after.failed,
                    failure_reason=after.failure_reason,
                    result=after.result,
                )


def _next_desired(events: list[Event]) -> Event:
    """The streams about desired and actual LRPs are independent: what caused a row may come after it."""
    return next(
        event for event in events if isinstance(event, DesiredLRPCreatedEvent | DesiredLRPChangedEvent)
    )


@pytest.mark.parametrize(
    ("recording", "stream"),
    [("events-lrp_instances.r1", Stream.INSTANCES), ("events-tasks.r1", Stream.TASKS)],
)
async def test_the_same_events_as_recorded(recording: str, stream: Stream, world: World) -> None:
    events = recorded(recording)
    await world.register("cell-ref-0")
    await world.freshen("golden")
    with world.bbs.hub.subscribe(stream) as subscription:
        teller = Teller(world, subscription)
        await teller.tell(events)
    expected = [said(event) for event in events]
    for desired in (True, False):  # of these two the order is independent
        assert _about(teller.heard, desired) == _about(expected, desired)


OTHERS = {
    "events.r1": (Stream.GROUPS, "", False),
    "events": (Stream.GROUPS, "", True),
    "events-lrp_instances": (Stream.INSTANCES, "", True),
    "events-tasks": (Stream.TASKS, "", True),
    "events-lrp_instances.r1.cell-filter": (Stream.INSTANCES, "recorded", False),
    "events.r1.cell-filter": (Stream.GROUPS, "recorded", False),
}
"""The other recorded streams: what each carries, whether filtered by a cell, and in the old form."""


def recorded_filter(recording: str) -> str:
    request = json.loads((LIFE / f"{recording}.json").read_text())["request"]
    return EventsByCellId.FromString(base64.b64decode(request["body_base64"])).cell_id


@pytest.mark.parametrize("recording", OTHERS)
async def test_the_other_streams_of_the_same_story(recording: str, world: World) -> None:
    stream, filtered, old = OTHERS[recording]
    told = recorded("events-tasks.r1" if stream is Stream.TASKS else "events-lrp_instances.r1")
    await world.register("cell-ref-0")
    await world.freshen("golden")
    hub = world.bbs.hub
    cell_id = recorded_filter(recording) if filtered else ""
    with (
        hub.subscribe(Stream.TASKS if stream is Stream.TASKS else Stream.INSTANCES) as leading,
        hub.subscribe(stream, cell_id) as subscription,
    ):
        await Teller(world, leading).tell(told)
        heard = []
        while (event := await subscription.next(0.01)) is not None:
            heard.append(said(old_form(event) if old else event))
    expected = [said(event) for event in recorded(recording)]
    for desired in (True, False):
        assert _about(heard, desired) == _about(expected, desired)


def running(row: ActualLRP) -> RunningData:
    return RunningData(
        net_info=row.actual_lrp_net_info,
        internal_routes=row.actual_lrp_internal_routes,
        metric_tags=row.metric_tags,
        routable=bool(row.routable),
        availability_zone=row.availability_zone,
    )


async def test_what_retires_goes_twice_as_recorded(world: World) -> None:
    document = json.loads((LIFE.parent / "retire-and-delete.json").read_text())
    events = [
        to_model(decode(message_class(event["message"]), base64.b64decode(event["data_base64"])))
        for event in document["events"]
    ]
    rows = [event.actual_lrp for event in events if isinstance(event, ActualLRPInstanceRemovedEvent)]
    [lrp] = [event.desired_lrp for event in events if isinstance(event, DesiredLRPRemovedEvent)]
    retired, deleted = rows[0], rows[-1]
    assert lrp is not None
    assert retired is not None
    assert deleted is not None
    await world.register("cell-ref-0")
    await world.freshen("golden")
    controllers = world.bbs.controllers
    lrps, key = controllers.lrps, retired.actual_lrp_key
    await controllers.desired.desire(lrp, "")
    for _ in range(lrp.modification_tag.index if lrp.modification_tag else 0):
        await controllers.desired.update(lrp.process_guid, DesiredLRPUpdate(annotation=lrp.annotation), "")
    await lrps.claim(key.process_guid, key.index, retired.actual_lrp_instance_key)
    before_the_update = replace(running(retired), metric_tags={})
    await lrps.start(key, retired.actual_lrp_instance_key, before_the_update)
    await lrps.start(key, retired.actual_lrp_instance_key, running(retired))
    with world.bbs.hub.subscribe(Stream.INSTANCES) as subscription:
        await lrps.retire(key, "")
        await lrps.remove(key.process_guid, key.index, retired.actual_lrp_instance_key)
        await world.converge()
        await lrps.claim(key.process_guid, key.index, deleted.actual_lrp_instance_key)
        await lrps.start(key, deleted.actual_lrp_instance_key, running(deleted))
        await controllers.desired.remove(lrp.process_guid, "")
        await lrps.remove(key.process_guid, key.index, deleted.actual_lrp_instance_key)
        await world.bbs.settled()
        heard = []
        while (event := await subscription.next(0.01)) is not None:
            heard.append(said(event))
    expected = [said(event) for event in events]
    for desired in (True, False):
        assert _about(heard, desired) == _about(expected, desired)


def _about(told: list[tuple[str, Any]], desired: bool) -> list[tuple[str, Any]]:
    return [item for item in told if item[0].startswith("Desired") is desired]
