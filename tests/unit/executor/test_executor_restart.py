"""A later executor goes on with the containers of one that was killed, or that handed them over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from executor import restoration
from executor.config import OnStop
from executor.containers.machine import MISSING
from executor.engine.api import ContainerSpec
from executor.errors import ContainerNotFound, EngineError, HandedOver, NetworkError
from executor.executor import Executor
from executor.journal.api import ContainerRow, FailureReason, Put
from executor.model import (
    AllocationFailure,
    AllocationRequest,
    ContainerState,
    EventKind,
    RunRequest,
    RunResult,
    UpdateRequest,
)
from executor.steps.base import EmittableError
from tests.support.executor_doubles import EventReader, World, allocation, run_request
from tests.support.journals import Fault

pytestmark = pytest.mark.unit


@asynccontextmanager
async def killed(world: World) -> AsyncIterator[tuple[Executor, EventReader]]:
    """An executor that is gone at the end of the body, without any effect."""
    async with world.build() as executor:
        with executor.subscribe() as events:
            yield executor, EventReader(events)
        calls = len(world.engine.calls)
        await executor.detach()
    assert world.engine.calls[calls:] == []


async def run(world: World, executor: Executor, events: EventReader, request: RunRequest) -> None:
    executor.allocate([AllocationRequest(guid=request.guid, memory_mb=128, disk_mb=256)])
    await executor.run(request, trace_id="trace")
    await world.group(request.guid)


async def test_a_running_container_goes_on(world: World) -> None:
    async with killed(world) as (executor, events):
        await run(world, executor, events, run_request(ports=(8080, 2222)))
        (await world.group("ig")).ready.set()
        before = await events.until(EventKind.RUNNING)
        watched = executor._actors["ig"].watched()
    assert world.network.mappings == {"ig": {61001: 8080, 61002: 2222}}

    then = world.later()
    async with then.running() as (executor, events):
        assert executor.containers() == [before]
        assert then.network.leases["ig"].ports == {61001: 8080, 61002: 2222}
        assert then.network.leases["ig"].address == before.internal_ip
        assert executor.remaining_resources().memory_mb == 1024 - 128
        group = await then.group("ig")
        assert group.container == before
        assert executor._actors["ig"].watched() == watched
        group.end(EmittableError("APP: Exited with status 3"))
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(failed=True, failure_reason="APP: Exited with status 3")
        assert events.seen[-1].trace_id == "trace"
        await executor.delete("ig")
        assert then.engine.containers == {}
        assert then.network.mappings == {}
    assert world.journal.rows.containers == {}
    assert world.engine.calls.count("create ig") == 1


async def test_each_state_is_restored_before_the_executor_is_used(world: World) -> None:
    world.configure(max_containers=9)
    async with killed(world) as (executor, events):
        executor.allocate([allocation("reserved")])
        for guid in ("created", "gone", "replaced", "completed"):
            await run(world, executor, events, run_request(guid))
        (await world.group("completed")).end()
        await events.until(EventKind.COMPLETE)
        world.engine.gates["create"] = asyncio.Event()
        executor.allocate([allocation("begun", memory_mb=0)])
        await executor.run(run_request("begun"))
        await world.engine.reached("create begun")
        world.engine.containers["begun"] = ContainerSpec(guid="begun", root_fs="half made")
        before = {container.guid: container for container in executor.containers()}
    world.engine.gates.clear()
    world.engine.stopped.add("gone")
    world.engine.ids["replaced"] = "another"

    then = world.later()
    async with then.running() as (executor, events):
        now = {container.guid: container for container in executor.containers()}
        assert now["reserved"] == before["reserved"]
        assert now["created"] == before["created"]
        assert now["completed"] == before["completed"]
        for guid in ("gone", "replaced"):
            assert now[guid].run_result == RunResult(failed=True, failure_reason=MISSING)
        assert (await executor.read_file("completed", "/result", 100)) == b"root reads /result"
        await then.group("begun")
        assert then.engine.containers["begun"].root_fs == "docker:///busybox"
        begun = then.engine.calls.index("destroy begun")
        assert then.engine.calls.index("create begun", begun)
        assert set(then.groups.groups) == {"created", "begun"}
        assert then.dependencies.held.keys() == {"created", "completed"}


async def test_nothing_survives_a_boot_of_the_machine(world: World) -> None:
    async with killed(world) as (executor, events):
        await run(world, executor, events, run_request())
    async with world.later(same_boot=False).running() as (executor, _):
        assert executor.container("ig").run_result == RunResult(failed=True, failure_reason=MISSING)


@pytest.mark.parametrize("failures", [1, restoration.FIND_ATTEMPTS])
async def test_one_container_that_the_engine_cannot_show_does_not_keep_the_cell_from_its_start(
    world: World, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr(restoration, "FIND_PAUSE_S", 0)
    async with killed(world) as (executor, events):
        await run(world, executor, events, run_request())
    world.engine.failures["find"] = [EngineError("engine busy") for _ in range(failures)]
    async with world.later().running() as (executor, _):
        lost = executor.container("ig").state is ContainerState.COMPLETED
        assert lost is (failures == restoration.FIND_ATTEMPTS)


async def test_a_container_that_the_network_cannot_keep_may_run_elsewhere(world: World) -> None:
    async with killed(world) as (executor, events):
        await run(world, executor, events, run_request())
    world.network.refused = {"ig": "its address is another's"}
    async with world.later().running() as (executor, _):
        assert executor.container("ig").run_result == RunResult(
            failed=True, failure_reason="its address is another's", retryable=True
        )


async def test_a_stop_before_the_restart_takes_effect_after_it(world: World) -> None:
    async with killed(world) as (executor, events):
        await run(world, executor, events, run_request())
        group = await world.group("ig")
        group.may_die.clear()
        await executor.stop("ig")
        await group.interrupted.wait()
        asyncio.get_running_loop().call_later(0.01, group.may_die.set)  # during the hand-over

    then = world.later()
    async with then.running() as (executor, events):
        assert executor.container("ig").state is ContainerState.CREATED
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result.stopped


async def test_updates_and_readiness_are_kept(world: World) -> None:
    world.groups.routable_when_ready = False
    async with killed(world) as (executor, events):
        await run(world, executor, events, run_request())
        group = await world.group("ig")
        group.flip_readiness(True)
        await executor.update(UpdateRequest(guid="ig", internal_routes=("a.internal",)))
    then = world.later()
    then.groups.routable_when_ready = False
    async with then.running() as (executor, events):
        assert executor.container("ig").run_info.internal_routes == ("a.internal",)
        (await then.group("ig")).ready.set()
        assert not (await events.until(EventKind.RUNNING)).routable
        assert (await events.until(EventKind.RUNNING)).routable


async def test_an_orphan_is_removed_after_its_grace_period(world: World) -> None:
    world.engine.containers["orphan"] = ContainerSpec(guid="orphan", root_fs="x")
    world.configure(container_reap_interval_s=0.01, orphan_grace_s=30)
    async with world.running():
        for _ in range(3):
            world.engine.calls.clear()
            await world.engine.reached("list_guids")
        assert "orphan" in world.engine.containers
        world.clock.now += 30
        await world.engine.reached("destroy orphan")


async def test_an_orphan_can_be_removed_before(world: World) -> None:
    world.engine.containers["orphan"] = ContainerSpec(guid="orphan", root_fs="x")
    world.configure(orphan_grace_s=30)
    async with world.running() as (executor, _):
        world.clock.now += 10
        assert executor.orphans() == {"orphan": 20}
        with pytest.raises(ContainerNotFound):
            await executor.remove_orphan("other")
        await executor.remove_orphan("orphan")
        assert world.engine.containers == {}
        assert executor.orphans() == {}


async def test_a_row_of_another_version_makes_its_container_an_orphan(world: World) -> None:
    world.journal.rows.apply(Put(ContainerRow(guid="ig", value=b"{not JSON")))
    world.engine.containers["ig"] = ContainerSpec(guid="ig", root_fs="x")
    async with world.later(orphan_grace_s=0).running() as (executor, _):
        assert executor.containers() == []
        assert world.engine.containers == {}
    assert world.journal.rows.containers == {}


async def test_a_start_that_cannot_be_journaled_has_no_effect(world: World) -> None:
    async with world.running() as (executor, events):
        executor.allocate([AllocationRequest(guid="ig")])
        world.journal.fault = Fault(FailureReason.FULL)
        await executor.run(run_request())
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(
            failed=True,
            failure_reason="failed to create container: the cell cannot write its journal",
            retryable=True,
        )
        assert "create ig" not in world.engine.calls
        assert not executor.healthy
        world.journal.fault = None
        await world.journal.retry()
        assert executor.healthy


async def test_a_stop_hands_the_containers_over_if_so_configured(world: World) -> None:
    world.configure(on_stop=OnStop.HAND_OVER)
    async with world.build() as executor:
        with executor.subscribe() as events:
            await run(world, executor, EventReader(events), run_request())
            group = await world.group("ig")
            calls = list(world.engine.calls)
    assert world.engine.calls == calls
    assert not group.closed
    assert world.network.running
    assert world.network.closed
    async with world.later().running() as (executor, _):
        assert executor.container("ig").state is ContainerState.CREATED


async def test_after_a_hand_over_nothing_is_accepted_any_more(world: World) -> None:
    async with world.running() as (executor, events):
        await run(world, executor, events, run_request())
        await executor.detach()
        request = AllocationRequest(guid="new")
        assert executor.allocate([request]) == [
            AllocationFailure(request=request, reason="the cell is restarting")
        ]
        for call in (executor.stop, executor.delete, executor.force_destroy):
            with pytest.raises(HandedOver):
                await call("ig")
        await executor.detach()
    assert "destroy ig" not in world.engine.calls
    assert set(world.journal.rows.containers) == {"ig"}


async def test_what_ends_during_a_hand_over_ends_in_the_next_process(world: World) -> None:
    async with killed(world) as (executor, events):
        await run(world, executor, events, run_request())
        deleting = asyncio.create_task(executor.delete("ig"))
        world.engine.gates["destroy"] = asyncio.Event()
        await world.engine.reached("destroy ig")
        detaching = asyncio.create_task(executor.detach())
        await asyncio.sleep(0)
        world.engine.gates["destroy"].set()
        await asyncio.wait({deleting, detaching})
    assert set(world.journal.rows.containers) == {"ig"}
    async with world.later().running() as (executor, _):
        await executor.delete("ig")
    assert world.journal.rows.containers == {}


async def test_the_networks_of_earlier_processes_are_recorded_until_they_are_removed(world: World) -> None:
    (old,) = world.network.footprints
    new = replace(old, table="renamed")
    async with killed(world):
        assert world.network.previous == ()
    world.network.footprints = (new,)
    world.network.failures["sweep"] = [NetworkError("it does not start")]
    with pytest.raises(NetworkError):
        async with world.later().build():
            raise AssertionError("it started")
    assert world.network.previous == (old,)
    world.network.failures["start"] = [NetworkError("it does not start")]
    with pytest.raises(NetworkError):
        async with world.later().build():
            raise AssertionError("it started")
    last = world.later()
    last.network.footprints = (replace(old, name="again"),)
    async with killed(last):
        assert last.network.previous == (new,)


async def test_the_networks_of_an_earlier_boot_are_gone(world: World) -> None:
    async with killed(world):
        pass
    async with killed(world.later(same_boot=False)):
        assert world.network.previous == ()
