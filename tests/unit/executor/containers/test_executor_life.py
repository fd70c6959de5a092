"""The life of a container, from its reservation to its removal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from executor.containers.creation import OptionalResources
from executor.containers.machine import STOPPED_BEFORE_RUNNING
from executor.containment import INTERNAL_ERROR
from executor.errors import (
    ContainerNotFound,
    EmptyAction,
    EngineError,
    InvalidStateTransition,
    NetworkError,
)
from executor.logs.api import Stream
from executor.model import (
    ContainerState,
    EventKind,
    PortMapping,
    Resources,
    RunResult,
    UpdateRequest,
)
from executor.steps.base import EmittableError, ExceededGracefulShutdownInterval
from executor.steps.children import CombinedError
from executor.volumes.manager import VolumeManager
from tests.support.executor_doubles import allocation, begin, run_request

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit


async def test_a_whole_life(world: World) -> None:
    async with world.running() as (executor, events):
        assert executor.allocate([allocation()], trace_id="t0") == []
        reserved = await events.next()
        assert (reserved.kind, reserved.container.state, reserved.trace_id) == (
            EventKind.RESERVED,
            ContainerState.RESERVED,
            "t0",
        )

        await executor.run(run_request(ports=(8080, 2222, 8080)), trace_id="t1")
        assert executor.container("ig").state is ContainerState.INITIALIZING

        group = await world.group("ig")
        assert executor.container("ig").state is ContainerState.CREATED
        group.ready.set()
        running = await events.next()
        assert (running.kind, running.trace_id) == (EventKind.RUNNING, "t1")
        container = running.container
        assert container.routable
        assert container.tags == {"lifecycle": "lrp", "domain": "d"}
        assert (container.external_ip, container.internal_ip) == ("192.0.2.9", "10.255.0.7")
        assert container.ports == (
            PortMapping(container_port=8080, host_port=61001),
            PortMapping(container_port=2222, host_port=61002),
        )
        assert world.network.mappings == {"ig": {61001: 8080, 61002: 2222}}

        group.end(EmittableError("APP: Exited with status 7"))
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(failed=True, failure_reason="APP: Exited with status 7")

        await executor.delete("ig")
        assert group.closed
        assert world.engine.containers == {}
        assert world.network.mappings == {}
        with pytest.raises(ContainerNotFound):
            executor.container("ig")
    assert world.sink.texts == [
        "Cell cell-1 creating container for instance ig",
        "Cell cell-1 successfully created container for instance ig",
        "Cell cell-1 stopping instance ig",
        "Cell cell-1 destroying container for instance ig",
        "Cell cell-1 successfully destroyed container for instance ig",
    ]
    assert {(line.source_id, line.instance_id, line.source_type) for line in world.sink.lines} == {
        ("log-guid", "3", "APP")
    }


async def test_a_clean_exit_is_no_failure(world: World) -> None:
    async with world.running() as (executor, events):
        await begin(executor)
        (await world.group("ig")).end()
        assert (await events.until(EventKind.COMPLETE)).run_result == RunResult()
        assert EventKind.RUNNING not in [event.kind for event in events.seen]
    assert world.meter.snapshot().counters["ContainerCompletedCount"] == 1


async def test_stop_interrupts_once_and_tells_once(world: World) -> None:
    async with world.running() as (executor, events):
        await begin(executor)
        group = await world.group("ig")
        group.ready.set()
        await events.until(EventKind.RUNNING)
        group.may_die.clear()
        await executor.stop("ig")
        await executor.stop("ig")
        assert executor.container("ig").state is ContainerState.RUNNING
        group.dying = CombinedError([ExceededGracefulShutdownInterval()])
        group.may_die.set()
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(stopped=True)
        assert group.interrupts == 1
    assert world.sink.texts.count("Cell cell-1 stopping instance ig") == 1
    assert world.meter.snapshot().counters["ContainerExitedOnTimeoutCount"] == 1


async def test_stop_of_a_bare_run_step_says_cancelled(world: World) -> None:
    async with world.running() as (executor, events):
        await begin(executor)
        await world.group("ig")
        await executor.stop("ig")
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(failed=True, failure_reason="cancelled", stopped=True)


@pytest.mark.parametrize("phase", ["reserved", "creating"])
async def test_stop_before_run_completes_at_once(world: World, phase: str) -> None:
    world.engine.gates["create"] = asyncio.Event()
    async with world.running() as (executor, events):
        executor.allocate([allocation()])
        if phase == "creating":
            await executor.run(run_request())
            await world.engine.reached("create ig")
        await executor.stop("ig")
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(
            failed=True, failure_reason=STOPPED_BEFORE_RUNNING, stopped=True
        )
        await executor.delete("ig")
        assert executor.remaining_resources() == executor.total_resources()
    assert world.groups.groups == {}


async def test_stop_of_a_completed_container_without_process_tells_nothing(world: World) -> None:
    async with world.running() as (executor, events):
        executor.allocate([allocation()])
        await executor.stop("ig")
        await executor.stop("ig")
        await executor.delete("ig")
        executor.allocate([allocation("next")])
        kinds = [(await events.next()).kind for _ in range(3)]
        assert kinds == [EventKind.RESERVED, EventKind.COMPLETE, EventKind.RESERVED]


async def test_deleting_a_reservation_labels_its_lines_with_nothing(world: World) -> None:
    async with world.running() as (executor, _):
        executor.allocate([allocation()])
        await executor.delete("ig")
    assert world.sink.texts == [
        "Cell cell-1 destroying container for instance ig",
        "Cell cell-1 successfully destroyed container for instance ig",
    ]
    assert {(line.source_id, line.instance_id, line.source_type) for line in world.sink.lines} == {
        ("", "0", "LOG")
    }


async def test_delete_waits_for_the_processes(world: World) -> None:
    async with world.running() as (executor, events):
        await begin(executor)
        group = await world.group("ig")
        group.ready.set()
        await events.until(EventKind.RUNNING)
        group.may_die.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(executor.delete("ig"))
            await group.interrupted.wait()
            await executor.delete("ig")
            assert "destroy ig" not in world.engine.calls
            group.may_die.set()
        assert world.engine.calls.count("destroy ig") == 1
        assert executor.containers() == []


async def test_a_failed_destruction_keeps_the_resources_until_it_succeeds(world: World) -> None:
    world.engine.failures["destroy"] = [EngineError("device busy")]
    async with world.running() as (executor, events):
        await begin(executor, ports=(8080,))
        (await world.group("ig")).end()
        await events.until(EventKind.COMPLETE)
        with pytest.raises(EngineError, match="device busy"):
            await executor.delete("ig")
        assert world.sink.texts[-1] == "Cell cell-1 failed to destroy container for instance ig"
        assert executor.container("ig").state is ContainerState.COMPLETED
        assert executor.remaining_resources() == Resources(memory_mb=896, disk_mb=1792, containers=3)
        await executor.delete("ig")
        assert executor.remaining_resources() == executor.total_resources()
        assert world.sink.texts.count("Cell cell-1 stopping instance ig") == 1
        assert len(world.network.free) == 10


async def test_a_second_run_is_refused(world: World) -> None:
    async with world.running() as (executor, _):
        await begin(executor)
        with pytest.raises(InvalidStateTransition):
            await executor.run(run_request())
        with pytest.raises(ContainerNotFound):
            await executor.run(run_request("other"))


async def test_nothing_to_run_completes_the_container(world: World) -> None:
    world.groups.failure = EmptyAction()
    async with world.running() as (executor, events):
        await begin(executor)
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result.failure_reason == "container cannot have empty action"


async def test_readiness_flips_are_told_once_running(world: World) -> None:
    world.groups.routable_when_ready = False
    async with world.running() as (executor, events):
        await begin(executor)
        group = await world.group("ig")
        group.flip_readiness(True)
        group.ready.set()
        told = [await events.until(EventKind.RUNNING) for _ in range(2)]
        assert [container.routable for container in told] == [False, True]
        group.flip_readiness(True)
        group.flip_readiness(False)
        assert not (await events.until(EventKind.RUNNING)).routable
        group.end()
        await events.until(EventKind.COMPLETE)
        group.flip_readiness(True)
        assert not executor.container("ig").routable


async def test_creation_slots_are_limited(world: World) -> None:
    world.configure(create_work_pool_size=1)
    gate = world.engine.gates["create"] = asyncio.Event()
    async with world.running() as (executor, _):
        executor.allocate([allocation("ig1"), allocation("ig2")])
        await executor.run(run_request("ig1"))
        await executor.run(run_request("ig2"))
        await world.engine.reached("create ig1")
        assert "create ig2" not in world.engine.calls
        gate.set()
        await world.group("ig2")


async def test_update_replaces_tags_live_and_keeps_the_rest(world: World) -> None:
    async with world.running() as (executor, _):
        executor.allocate([allocation()])
        await executor.update(UpdateRequest(guid="ig", metric_tags={"source_id": "early"}))
        await executor.run(run_request(internal_routes=("a.apps.internal",)))
        group = await world.group("ig")
        await executor.update(UpdateRequest(guid="ig", metric_tags={"source_id": "late"}))
        await executor.update(UpdateRequest(guid="ig", internal_routes=()))
        info = executor.container("ig").run_info
        assert group.tags == info.metrics_config.tags == info.log_config.tags == {"source_id": "late"}
        assert info.internal_routes == ()
        with pytest.raises(ContainerNotFound):
            await executor.update(UpdateRequest(guid="other"))


async def test_the_cell_can_speak_in_the_apps_log(world: World) -> None:
    async with world.running() as (executor, _):
        await begin(executor)
        executor.log("ig", "Cell cell-1 requesting replacement for instance ig", Stream.ERR)
        line = world.sink.lines[-1]
        assert (line.payload, line.stream, line.source_type) == (
            b"Cell cell-1 requesting replacement for instance ig",
            Stream.ERR,
            "APP",
        )


async def test_files_need_a_created_container(world: World) -> None:
    async with world.running() as (executor, _):
        executor.allocate([allocation()])
        with pytest.raises(ContainerNotFound):
            await executor.read_file("ig", "/result", 100)
        await executor.run(run_request())
        await world.group("ig")
        assert await executor.read_file("ig", "/result", 100) == b"root reads /result"


async def test_an_unexpected_error_ends_the_container_only(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Its owner is told no word of ours; the trace is in the log."""
    async with world.running() as (executor, events):
        await begin(executor)
        (await world.group("ig")).end(ZeroDivisionError("bug"))
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(failed=True, failure_reason=INTERNAL_ERROR)
    [told] = [record for record in caplog.records if record.message == "unexpected-container-error"]
    assert told.exc_info is not None


async def test_a_network_that_cannot_be_removed_is_told_and_left_to_the_next_start(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A container that the engine could not be rid of may hold it, though nobody here knows it any more."""
    world.network.failures["stop"] = [NetworkError("containers are still linked: cf-7")]
    executor = world.build()
    async with executor:
        assert executor.left_behind == ""
    assert executor.left_behind == "containers are still linked: cf-7"
    [told] = [record for record in caplog.records if record.message == "leaving-network-to-next-start"]
    assert vars(told)["data"] == {"error": "containers are still linked: cf-7"}
    async with world.build():
        assert world.network.swept


async def test_every_part_is_closed_whatever_becomes_of_the_others(world: World) -> None:
    volumes = ClosedVolumes(())
    world.resources = OptionalResources(volumes=volumes)
    executor = await world.build().__aenter__()
    for guid in ("ig", "other"):
        await begin(executor, guid)
        (await world.group(guid)).close_failure = OSError("no space for the last lines")
    await executor.__aexit__(None, None, None)
    assert all(group.closed for group in world.groups.groups.values())
    assert volumes.closed
    assert world.network.closed


class ClosedVolumes(VolumeManager):
    """Tells whether it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_leaving_ends_subscriptions_and_leaves_containers_to_the_caller(world: World) -> None:
    async with world.build() as executor:
        subscription = executor.subscribe()
        events = subscription.__enter__()
        await begin(executor)
        group = await world.group("ig")
    assert [event.kind async for event in events] == [EventKind.RESERVED]
    subscription.__exit__(None, None, None)
    assert group.interrupts == 1
    assert set(world.engine.containers) == {"ig"}
    assert world.network.running


async def test_an_empty_cell_takes_its_network_down(world: World) -> None:
    async with world.build():
        assert world.network.running
    assert not world.network.running
