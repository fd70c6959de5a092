"""Desired LRPs, and the effects on their instances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from bbs.embedded.calls.reps import RepError
from bbs.embedded.events.hub import Stream
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, RunningData
from bbs.models.common import DynamicValue, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import ActualLRPInstanceRemovedEvent, ActualLRPRemovedEvent
from bbs.models.workload import SharedDevice, VolumeMount

pytestmark = pytest.mark.unit

RUNS = RunningData(net_info=ActualLRPNetInfo(address="10.0.0.1"))


def key(index: int) -> ActualLRPKey:
    return ActualLRPKey(process_guid="web", index=index, domain="apps")


def instance(guid: str, cell: str = "c1") -> ActualLRPInstanceKey:
    return ActualLRPInstanceKey(instance_guid=guid, cell_id=cell)


@pytest.fixture
async def running(world: Any, web_lrp: DesiredLRP) -> Any:
    """Both instances of ``web`` run on c1, as i0 and i1."""
    await world.register("c1")
    await world.bbs.controllers.desired.desire(web_lrp, "")
    for index in range(2):
        await world.bbs.controllers.lrps.start(key(index), instance(f"i{index}"), RUNS)
    await world.bbs.settled()
    world.auctioneer.taken()
    return world


async def test_desire_asks_once_for_all_instances(world: Any, web_lrp: DesiredLRP) -> None:
    await world.bbs.controllers.desired.desire(web_lrp, "trace")
    await world.bbs.settled()
    assert await world.states("web") == ["0 ORDINARY UNCLAIMED", "1 ORDINARY UNCLAIMED"]
    [(request, trace_id)] = world.auctioneer.lrps
    assert (request.indices, request.demand.root_fs, request.demand.memory_mb) == (
        (0, 1),
        "docker:///app",
        64,
    )
    assert request.demand.volume_drivers == ()
    assert trace_id == "trace"


async def test_later_auctions_write_no_drivers_as_null(running: Any) -> None:
    await running.bbs.controllers.lrps.crash(key(0), instance("i0"), "boom")
    await running.bbs.settled()
    [(request, trace_id)] = running.auctioneer.lrps
    assert (request.indices, request.demand.volume_drivers, trace_id) == ((0,), None, "")


async def test_drivers_are_named_once(world: Any, web_lrp: DesiredLRP) -> None:
    mount = VolumeMount(driver="nfs", mode="r", shared=SharedDevice(volume_id="v"))
    await world.bbs.controllers.desired.desire(replace(web_lrp, volume_mounts=(mount, mount)), "")
    await world.bbs.settled()
    assert world.auctioneer.lrps[0][0].demand.volume_drivers == ("nfs",)


async def test_desire_ignores_the_clients_tag_and_drops_duplicate_ports(
    world: Any, web_lrp: DesiredLRP
) -> None:
    await world.bbs.controllers.desired.desire(replace(web_lrp, ports=(8080, 22, 8080)), "")
    stored = await world.bbs.controllers.deps.store.run(lambda tables: tables.desired_lrp("web"))
    assert stored.ports == (8080, 22)
    assert stored.modification_tag.epoch
    assert stored.modification_tag.index == 0


@pytest.mark.parametrize(("guid", "root_fs"), [("x" * 256, "docker:x"), ("x", "docker:" + "x" * 1020)])
async def test_names_that_do_not_fit_are_refused(
    world: Any, web_lrp: DesiredLRP, guid: str, root_fs: str
) -> None:
    with pytest.raises(BBSError) as refused:
        await world.bbs.controllers.desired.desire(replace(web_lrp, process_guid=guid, root_fs=root_fs), "")
    assert refused.value == BBSError(ErrorType.InvalidRequest)


async def test_scale_up_creates_and_auctions_what_is_new(running: Any) -> None:
    await running.bbs.controllers.desired.update("web", DesiredLRPUpdate(instances=4), "")
    await running.bbs.settled()
    assert running.auctioneer.taken() == [("web", (2, 3))]
    assert (await running.states("web"))[2:] == ["2 ORDINARY UNCLAIMED", "3 ORDINARY UNCLAIMED"]


async def test_scale_down_stops_what_is_surplus(running: Any) -> None:
    await running.bbs.controllers.desired.update("web", DesiredLRPUpdate(instances=1), "")
    await running.bbs.settled()
    assert running.reps.calls == [("stop", "https://c1", "i1", 1)]
    assert await running.states("web") == ["0 ORDINARY RUNNING", "1 ORDINARY RUNNING"]


async def test_remove_deletes_waiting_rows_and_stops_running_ones(running: Any) -> None:
    await running.bbs.controllers.lrps.crash(key(1), instance("i1"), "boom")
    await running.bbs.controllers.desired.remove("web", "")
    await running.bbs.settled()
    assert running.reps.calls == [("stop", "https://c1", "i0", 1)]
    assert await running.states("web") == ["0 ORDINARY RUNNING"]


async def test_a_failing_stop_is_nobodys_error(running: Any) -> None:
    running.reps.error = ConnectionError("down")
    await running.bbs.controllers.desired.remove("web", "")
    await running.bbs.settled()
    assert len(running.reps.calls) == 2


async def test_an_empty_update_still_moves_the_tag(running: Any) -> None:
    await running.bbs.controllers.desired.update("web", DesiredLRPUpdate(), "")
    stored = await running.bbs.controllers.deps.store.run(lambda tables: tables.desired_lrp("web"))
    assert stored.modification_tag.index == 1
    await running.bbs.settled()
    assert running.reps.calls == []


async def test_new_internal_routes_are_pushed_without_the_tags(running: Any) -> None:
    routes = {"internal-router": b'[{"hostname":"web.internal"}]'}
    await running.bbs.controllers.desired.update("web", DesiredLRPUpdate(routes=routes), "")
    await running.bbs.settled()
    assert running.reps.calls == [
        ("update", "i0", ["web.internal"], None),
        ("update", "i1", ["web.internal"], None),
    ]


async def test_new_tags_are_pushed_resolved_for_each_instance(running: Any) -> None:
    tags = {
        "source_id": MetricTagValue(static="web"),
        "index": MetricTagValue(dynamic=DynamicValue.INDEX),
        "guid": MetricTagValue(dynamic=DynamicValue.INSTANCE_GUID),
    }
    await running.bbs.controllers.desired.update("web", DesiredLRPUpdate(metric_tags=tags), "")
    await running.bbs.settled()
    assert running.reps.calls[1] == (
        "update",
        "i1",
        None,
        {"source_id": "web", "index": "1", "guid": "i1"},
    )


async def test_retire_stops_a_running_instance_with_patience(running: Any) -> None:
    await running.bbs.controllers.lrps.retire(key(0), "")
    assert running.reps.calls == [("stop", "https://c1", "i0", 5)]
    assert (await running.states("web"))[0] == "0 ORDINARY RUNNING"


async def test_retire_answers_the_reps_last_error(running: Any) -> None:
    running.reps.error = RepError("POST", URL("https://c1"), "no")
    with pytest.raises(BBSError, match="https://c1"):
        await running.bbs.controllers.lrps.retire(key(0), "")


async def test_retire_deletes_a_row_whose_cell_is_gone(running: Any) -> None:
    await running.unregister("c1")
    await running.bbs.controllers.lrps.retire(key(0), "")
    assert await running.states("web") == ["1 ORDINARY RUNNING"]


@pytest.mark.parametrize("stream", [Stream.INSTANCES, Stream.GROUPS])
async def test_a_retired_instance_is_told_gone_at_once_and_again(running: Any, stream: Stream) -> None:
    with running.bbs.hub.subscribe(stream) as subscription:
        await running.bbs.controllers.lrps.retire(key(0), "trace")
        await running.bbs.controllers.lrps.remove("web", 0, instance("i0"))
        first, second = await subscription.next(10), await subscription.next(10)
    match first, second:
        case ActualLRPInstanceRemovedEvent(), ActualLRPInstanceRemovedEvent():
            assert (first.trace_id, second.trace_id) == ("trace", "")
            assert first.actual_lrp == second.actual_lrp
        case _:
            assert isinstance(first, ActualLRPRemovedEvent)
            assert first == second


async def test_the_trace_of_a_request_is_in_the_events_it_causes_itself(
    world: Any, web_lrp: DesiredLRP
) -> None:
    with world.bbs.hub.subscribe(Stream.INSTANCES) as subscription:
        await world.bbs.controllers.desired.desire(replace(web_lrp, instances=1), "one")
        await world.bbs.controllers.desired.remove("web", "two")
        world.bbs.hub.close()
        traces = []
        while not subscription.exhausted:
            event = await subscription.next(10)
            traces += [(type(event).__name__, event.trace_id)] if event is not None else []
    assert traces == [
        ("DesiredLRPCreatedEvent", "one"),
        ("ActualLRPInstanceCreatedEvent", "one"),
        ("DesiredLRPRemovedEvent", "two"),
        ("ActualLRPInstanceRemovedEvent", "two"),
    ]


async def test_a_cell_id_that_does_not_fit_is_refused(running: Any) -> None:
    with pytest.raises(BBSError) as refused:
        await running.bbs.controllers.lrps.claim("web", 0, instance("x", cell="c" * 256))
    assert refused.value == BBSError(ErrorType.InvalidRequest)
