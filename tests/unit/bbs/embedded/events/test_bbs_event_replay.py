"""Replay of a recorded evacuation with a crash and a suspect row: the same events on each stream."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from bbs.embedded.calls.startrequests import LRPStartRequest
from bbs.embedded.events.hub import Stream, Subscription
from bbs.embedded.http.streams import old_form
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import (
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    PreferredAddress,
    RunningData,
)
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.wire.mapping import to_wire
from bbs.wire.messages import message_class
from bbs.wire.proto.events_pb2 import EventsByCellId
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

EVENTS = GOLDEN_FILES / "wire" / "events" / "evacuation-suspect"
KEY = ActualLRPKey(process_guid="golden-events-evac", domain="golden")
LRP = DesiredLRP(
    process_guid=KEY.process_guid,
    domain=KEY.domain,
    root_fs="preloaded:cflinuxfs4",
    instances=1,
    action=RunAction(path="true", user="vcap"),
    disk_mb=1,
    memory_mb=1,
    log_guid="l",
    placement_tags=("nowhere",),
    metric_tags={"source_id": MetricTagValue(static=KEY.process_guid)},
)
RUNNING = RunningData(
    net_info=ActualLRPNetInfo(
        address="10.9.9.9",
        ports=(PortMapping(container_port=8080, host_port=60001),),
        instance_address="10.9.8.8",
        preferred_address=PreferredAddress.HOST,
    ),
    availability_zone="z9",
)


def instance(guid: str) -> ActualLRPInstanceKey:
    return ActualLRPInstanceKey(instance_guid=guid, cell_id="fake-cell")


def masked(value: Any) -> Any:
    """What an event says, without times, random tags, ports, and what only the recorded client had set."""
    if isinstance(value, dict):
        hidden = {"since": "*", "epoch": "*", "host_port": 0}
        return {key: hidden.get(key, masked(item)) for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


def said(message: Any) -> tuple[str, Any]:
    return type(message).__name__, masked(MessageToDict(message, preserving_proto_field_name=True))


def recorded(stream: str, *, desired: bool) -> list[tuple[str, Any]]:
    """The recorded events about instances, or those about the desired LRP: their order is independent."""
    response = json.loads((EVENTS / f"{stream}.json").read_text())["response"]
    messages = [
        message_class(event["message"]).FromString(base64.b64decode(event["data_base64"]))
        for event in response["events"]
        if event["event"].startswith("desired") is desired
    ]
    return [said(message) for message in messages]


async def heard(subscription: Subscription, *, old: bool = False) -> list[tuple[str, Any]]:
    """What came; old: in the form of the streams for old clients."""
    events = []
    while not subscription.exhausted:
        event = await subscription.next(10)
        if event is not None:
            events.append(said(to_wire(old_form(event) if old else event)))
    return events


async def tell_the_story(world: Any) -> None:
    lrps, evacuation = world.bbs.controllers.lrps, world.bbs.controllers.evacuation

    async def fail(request: LRPStartRequest) -> None:
        await lrps.fail(KEY, 'found no compatible cell with placement tag "nowhere"')

    world.auctioneer.on_lrp = fail
    await world.bbs.controllers.desired.desire(LRP, "")
    await world.bbs.settled()
    await lrps.start(KEY, instance("a"), RUNNING)
    assert await evacuation.running(KEY, instance("a"), RUNNING)
    await world.bbs.settled()
    await lrps.start(KEY, instance("b"), RUNNING)
    assert not await evacuation.claimed(KEY, instance("b"))
    await world.bbs.settled()
    await lrps.start(KEY, instance("c"), RUNNING)
    assert not await evacuation.crashed(KEY, instance("c"), "m")
    await lrps.start(KEY, instance("d"), RUNNING)
    await world.converge()
    await lrps.start(KEY, instance("e"), RUNNING)
    await lrps.remove(KEY.process_guid, 0, instance("e"))
    await world.bbs.controllers.desired.remove(KEY.process_guid, "")


@pytest.mark.parametrize(
    ("recording", "stream"),
    [
        ("events-lrp_instances.r1", Stream.INSTANCES),
        ("events.r1", Stream.GROUPS),
        ("events-lrp_instances", Stream.INSTANCES),
        ("events", Stream.GROUPS),
        ("events-tasks.r1", Stream.TASKS),
        ("events-tasks", Stream.TASKS),
    ],
)
@pytest.mark.parametrize("desired", [False, True])
async def test_events_as_recorded(recording: str, stream: Stream, desired: bool, world: Any) -> None:
    with world.bbs.hub.subscribe(stream) as subscription:
        await tell_the_story(world)
        world.bbs.hub.close()
        events = await heard(subscription, old=not recording.endswith(".r1"))
    about = [event for event in events if event[0].startswith("Desired") is desired]
    assert about == recorded(recording, desired=desired)


@pytest.mark.parametrize(
    ("recording", "stream"),
    [
        ("events-lrp_instances.r1.cell-filter", Stream.INSTANCES),
        ("events.r1.cell-filter", Stream.GROUPS),
    ],
)
async def test_the_filter_for_another_cell_passes_what_was_recorded(
    recording: str, stream: Stream, world: Any
) -> None:
    request = json.loads((EVENTS / f"{recording}.json").read_text())["request"]
    cell_id = EventsByCellId.FromString(base64.b64decode(request["body_base64"])).cell_id
    with world.bbs.hub.subscribe(stream, cell_id) as subscription:
        await tell_the_story(world)
        world.bbs.hub.close()
        heard_events = await heard(subscription)
    assert heard_events == recorded(recording, desired=True) + recorded(recording, desired=False)
