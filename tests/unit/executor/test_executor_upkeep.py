"""Start, capacity, expiry, strays and vanished containers, metrics ticks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from executor import capacity
from executor.engine.api import ContainerSpec, EngineContainer
from executor.errors import EngineError, EngineUnavailable, ExecutorError
from executor.model import (
    Container,
    ContainerMetrics,
    ContainerState,
    EventKind,
    Resources,
    RunResult,
)
from executor.watch import counters, layerusage
from executor.watch.diskusage import DiskUsage
from executor.watch.layerusage import LayerUsage
from executor.watch.readings import MetricsKeeper, Watched
from executor.watch.samples import Reading
from tests.support.executor_doubles import allocation, begin, run_request

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit

SOON = 0.01


async def test_start_waits_for_the_engine_and_wipes_what_was_left(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.boot.PING_PAUSE_S", 0)
    world.configure(orphan_grace_s=0)
    world.engine.failures["ping"] = [EngineUnavailable(), EngineUnavailable()]
    world.engine.containers["old"] = ContainerSpec(guid="old", root_fs="x")
    leftover = tmp_path / "executor-work" / "leftover"
    leftover.mkdir(parents=True)
    async with world.running() as (executor, _):
        assert world.engine.calls == ["ping", "ping", "ping", "list_guids", "destroy old"]
        assert world.network.running
        assert not leftover.exists()
        assert leftover.parent.is_dir()
        assert executor.total_resources() == Resources(memory_mb=1024, disk_mb=2048, containers=4)
        assert executor.healthy
        assert executor.volume_drivers() == []


async def test_a_container_that_resists_the_wipe_is_fatal(world: World) -> None:
    world.configure(orphan_grace_s=0)
    world.engine.containers["old"] = ContainerSpec(guid="old", root_fs="x")
    world.engine.failures["destroy"] = [EngineError("device busy")]
    with pytest.raises(EngineError, match="device busy"):
        async with world.running():
            pass


async def test_a_check_container_of_the_previous_process_gets_no_grace(world: World) -> None:
    """A kill during the cell's own check leaves its container behind."""
    world.configure(orphan_grace_s=60)
    for guid in ("check-1", "old"):
        world.engine.containers[guid] = ContainerSpec(guid=guid, root_fs="x")
    async with world.running():
        assert "destroy check-1" in world.engine.calls
        assert "destroy old" not in world.engine.calls


def test_capacity_gauges() -> None:
    values = capacity.gauges(
        Resources(memory_mb=100, disk_mb=200, containers=9),
        Resources(memory_mb=40, disk_mb=150, containers=7),
        [Container(guid="a"), Container(guid="b", state=ContainerState.RUNNING)],
        {"b": ContainerMetrics(memory_usage=3 << 20, disk_usage=5 << 20)},
    )
    assert {name: (gauge.value, gauge.unit) for name, gauge in values.items()} == {
        "CapacityTotalMemory": (100, "MiB"),
        "CapacityTotalDisk": (200, "MiB"),
        "CapacityRemainingMemory": (40, "MiB"),
        "CapacityRemainingDisk": (150, "MiB"),
        "CapacityAllocatedMemory": (60, "MiB"),
        "CapacityAllocatedDisk": (50, "MiB"),
        "ContainerUsageMemory": (3, "MiB"),
        "ContainerUsageDisk": (5, "MiB"),
        "CapacityTotalContainers": (9, "Metric"),
        "CapacityRemainingContainers": (7, "Metric"),
        "ContainerCount": (2, "Metric"),
        "StartingContainerCount": (1, "Metric"),
    }


async def test_automatic_capacity_is_the_engines(world: World) -> None:
    world.configure(
        memory_mb=None, disk_mb=None, max_cache_size_bytes=10 << 30, auto_disk_capacity_overhead_mb=24
    )
    async with world.running() as (executor, _):
        assert executor.total_resources() == Resources(memory_mb=16384, disk_mb=90 * 1024 - 24, containers=4)


async def test_a_cache_bigger_than_the_storage_is_named(world: World) -> None:
    world.configure(disk_mb=None, max_cache_size_bytes=100 << 30)
    with pytest.raises(ExecutorError, match="automatic disk capacity is 0 MiB"):
        async with world.running():
            pass


async def test_allocation_refuses_what_does_not_fit(world: World) -> None:
    async with world.running() as (executor, _):
        requests = [
            allocation("ig1", memory_mb=1000),
            allocation("ig1"),
            allocation(""),
            allocation("ig2", memory_mb=25),
            allocation("ig3", memory_mb=24, disk_mb=2000),
            allocation("ig4", memory_mb=0, disk_mb=0),
            allocation("ig5", memory_mb=0, disk_mb=1792),
            allocation("ig6", memory_mb=0, disk_mb=0),
            allocation("ig7", memory_mb=0, disk_mb=0),
        ]
        failures = executor.allocate(requests)
        assert [(failure.request.guid, failure.reason) for failure in failures] == [
            ("ig1", "container guid not available"),
            ("", "container guid not specified"),
            ("ig2", "insufficient resources available"),
            ("ig3", "insufficient resources available"),
            ("ig7", "insufficient resources available"),
        ]
        assert executor.remaining_resources() == Resources(memory_mb=24, disk_mb=0, containers=0)


async def test_unused_reservations_expire(world: World) -> None:
    world.configure(reserved_expiration_time_s=2 * SOON)
    async with world.running() as (executor, events):
        executor.allocate([allocation()])
        world.clock.now += 1
        complete = await events.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(failed=True, failure_reason="expired container", unused=True)
        assert executor.remaining_resources() != executor.total_resources()


async def test_the_reaper_finds_strays_and_vanished_containers(world: World) -> None:
    world.configure(container_reap_interval_s=SOON)
    async with world.running() as (executor, events):
        executor.allocate([allocation("lost"), allocation("kept")])
        for guid in ("lost", "kept"):
            await executor.run(run_request(guid))
            await world.group(guid)
        world.engine.containers["stray"] = ContainerSpec(guid="stray", root_fs="x")
        del world.engine.containers["lost"]
        complete = await events.until(EventKind.COMPLETE)
        assert complete.guid == "lost"
        assert complete.run_result == RunResult(failed=True, failure_reason="missing garden container")
        await world.engine.reached("destroy stray")
        await world.groups.groups["lost"].interrupted.wait()
        await executor.delete("lost")
        assert set(world.engine.containers) == {"kept"}
        kinds = [event.kind for event in events.seen if event.container.guid == "lost"]
        assert kinds.count(EventKind.COMPLETE) == 1


async def test_a_stray_that_resists_is_tried_again(world: World) -> None:
    world.configure(container_reap_interval_s=SOON)
    async with world.running():
        world.engine.failures["destroy"] = [EngineError("device busy")]
        world.engine.containers["stray"] = ContainerSpec(guid="stray", root_fs="x")
        for _ in range(2):
            await world.engine.reached("destroy stray")
            world.engine.calls.clear()
            await world.engine.reached("list_guids")
        assert world.engine.containers == {}


async def test_the_reaper_goes_on_after_an_engine_error(world: World) -> None:
    world.configure(container_reap_interval_s=SOON)
    async with world.running() as (executor, events):
        await begin(executor)
        await world.group("ig")
        world.engine.failures["list_guids"] = [EngineError("engine restarts")]
        world.engine.containers.clear()
        assert (await events.until(EventKind.COMPLETE)).run_result.failed


async def test_a_container_being_created_is_not_a_stray(world: World) -> None:
    world.configure(container_reap_interval_s=SOON)
    async with world.running() as (executor, _):
        gate = world.engine.gates["list_guids"] = asyncio.Event()
        world.engine.calls.clear()
        await world.engine.reached("list_guids")
        await begin(executor)
        await world.group("ig")
        gate.set()
        world.engine.calls.clear()
        await world.engine.reached("list_guids")
        assert "destroy ig" not in world.engine.calls


async def test_metrics_are_those_of_created_containers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(pid: int, container_id: str, disk_usage: int) -> Reading:
        assert (pid, container_id) == (1, "id-ig")
        return Reading(memory_usage=5, disk_usage=disk_usage, cpu_ns=7)

    monkeypatch.setattr(counters, "read", read)
    monkeypatch.setattr(layerusage, "upper_directory", lambda pid: Path("/"))
    monkeypatch.setattr(layerusage, "below", lambda upper, limits: LayerUsage(6, 1))
    ticked = asyncio.Event()
    tick = MetricsKeeper.tick

    async def told(keeper: MetricsKeeper, watched: Sequence[Watched]) -> None:
        await tick(keeper, watched)
        ticked.set()

    monkeypatch.setattr(MetricsKeeper, "tick", told)
    world.configure(container_metrics_report_interval_s=SOON)
    async with world.running() as (executor, events):
        executor.allocate([allocation(), allocation("reserved")])
        await executor.run(run_request(cpu_weight=100))
        group = await world.group("ig")
        for _ in range(2):
            ticked.clear()
            await ticked.wait()
        [(guid, metrics)] = executor.metrics().items()
        assert guid == "ig"
        assert (metrics.memory_usage, metrics.disk_usage, metrics.cpu_time_ns) == (5, 6, 7)
        assert (metrics.memory_limit, metrics.disk_limit) == (128 << 20, 256 << 20)
        group.end()
        await events.until(EventKind.COMPLETE)
        for _ in range(2):
            ticked.clear()
            await ticked.wait()
        assert executor.metrics() == {}


async def test_a_container_that_is_gone_has_no_reading(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskUsage(world.clock, min_age_s=1)
    keeper = MetricsKeeper(world.config, world.clock, disk, cores=2, total_memory_mb=1024)
    made = EngineContainer(guid="ig", id="id-of-nobody", init_pid=1, address="10.255.0.7")
    container = Container(guid="ig", state=ContainerState.RUNNING)
    caplog.set_level("INFO")
    await keeper.tick([Watched(container=container, engine_container=made, created_at_ns=0)])
    assert keeper.latest == {}
    assert "no-reading-of-container" in caplog.messages
