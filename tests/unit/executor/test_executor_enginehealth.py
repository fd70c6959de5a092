"""The engine's health check: the probe, its retries, and when the cell counts as unhealthy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from common.liveness import Liveness
from common.shielded import finish
from common.tasks import running
from executor import enginehealth
from executor.engine.api import ContainerSpec
from executor.enginehealth import EngineHealth
from executor.errors import EngineError, EngineUnavailable
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit


@pytest.fixture
def health(world: World) -> EngineHealth:
    world.configure(
        sidecar_root_fs="docker:///busybox",
        garden_healthcheck_command_retry_pause_s=0.001,
        garden_healthcheck_interval_s=0.005,
        garden_healthcheck_timeout_s=5.0,
    )
    return EngineHealth(world.config, world.probe_engine, world.meter)


async def test_a_check_runs_the_probe_and_leaves_nothing(world: World, health: EngineHealth) -> None:
    world.probe_engine.containers["check-old"] = ContainerSpec(guid="check-old", root_fs="x")
    await health.check()
    calls = [call.partition("-")[0] for call in world.probe_engine.calls]
    assert calls == ["list_guids", "destroy check", "create check", "start_process check", "destroy check"]
    assert world.probe_engine.containers == {}


async def test_without_a_probe_image_the_engine_is_only_pinged(world: World, health: EngineHealth) -> None:
    world.configure(sidecar_root_fs="")
    await EngineHealth(world.config, world.probe_engine, world.meter).check()
    assert world.probe_engine.calls == ["ping"]


@pytest.mark.parametrize("operation", ["list_guids", "create", "start_process", "destroy"])
async def test_every_call_is_tried_three_times(world: World, health: EngineHealth, operation: str) -> None:
    world.probe_engine.failures[operation] = [EngineError("1"), EngineError("2")]
    await health.check()
    world.probe_engine.failures[operation] = [EngineError("1"), EngineError("2"), EngineError("3")]
    with pytest.raises(EngineError, match="3"):
        await health.check()


async def test_a_probe_that_fails_is_named(world: World, health: EngineHealth) -> None:
    world.probe_engine.exit_status = 4
    with pytest.raises(EngineError, match="Healthcheck exited with 4"):
        await health.check()


async def test_no_first_success_in_time_is_fatal(world: World, health: EngineHealth) -> None:
    world.configure(garden_healthcheck_timeout_s=0.05)
    world.probe_engine.exit_status = 1
    health = EngineHealth(world.config, world.probe_engine, world.meter)
    with pytest.raises(EngineError, match="garden healthcheck timed out"):
        await health.run()
    assert not health.healthy
    assert world.probe_engine.containers == {}
    assert world.meter.snapshot().gauges["CellUnhealthy"].value == 1


async def test_health_follows_the_periodic_check(world: World, health: EngineHealth) -> None:
    assert health.healthy
    running = asyncio.create_task(health.run())
    await world.probe_engine.reached("list_guids")
    for status, healthy in ((0, True), (1, False), (0, True)):
        world.probe_engine.exit_status = status
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(2):
                world.probe_engine.calls.clear()
                await world.probe_engine.reached("list_guids")
        assert health.healthy is healthy
        gauge = world.meter.snapshot().gauges["GardenHealthCheckFailed"]
        assert gauge.value == (0 if healthy else 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_interrupted_check_removes_its_probe(world: World, health: EngineHealth) -> None:
    world.probe_engine.gates["start_process"] = asyncio.Event()
    running = asyncio.create_task(health.run())
    await world.probe_engine.reached("list_guids")
    async with asyncio.timeout(PATIENCE_S):
        async with world.probe_engine.called:
            await world.probe_engine.called.wait_for(
                lambda: any(call.startswith("start_process") for call in world.probe_engine.calls)
            )
    assert world.probe_engine.containers
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.probe_engine.containers == {}


async def test_a_hanging_check_makes_the_cell_unhealthy(world: World) -> None:
    world.configure(
        sidecar_root_fs="docker:///busybox",
        garden_healthcheck_interval_s=0.005,
        garden_healthcheck_timeout_s=0.05,
        garden_healthcheck_command_retry_pause_s=0.001,
    )
    async with world.running() as (executor, _):
        async with asyncio.timeout(PATIENCE_S):
            await world.probe_engine.reached("list_guids")
            world.probe_engine.gates["create"] = asyncio.Event()
            world.probe_engine.calls.clear()
            await world.probe_engine.reached("list_guids")
            world.probe_engine.calls.clear()
            await world.probe_engine.reached("list_guids")
        assert not executor.healthy
        assert world.meter.snapshot().gauges["CellUnhealthy"].value == 1


async def test_a_ping_notices_an_engine_that_does_not_answer_and_its_return(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enginehealth, "PING_INTERVAL_S", 0.005)
    world.configure(sidecar_root_fs="docker:///busybox", garden_healthcheck_interval_s=3600.0)
    async with world.running() as (executor, _):
        await until(lambda: any(call.startswith("destroy check") for call in world.probe_engine.calls))
        world.probe_engine.failures["ping"] = [EngineUnavailable("gone")] * 3
        await until(lambda: not executor.healthy)
        await until(lambda: executor.healthy)
        assert world.probe_engine.failures["ping"] == []


async def test_a_watchdog_waits_for_an_engine_that_is_down_and_not_for_a_call_that_hangs(
    world: World, health: EngineHealth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enginehealth, "PING_INTERVAL_S", 0.005)
    monkeypatch.setattr(enginehealth, "PING_LIMIT_S", 0.02)
    now = [0.0]
    liveness = Liveness(lambda: now[0])
    health = EngineHealth(world.config, world.probe_engine, world.meter, liveness)
    async with running(health.run(), "engine health"):
        await world.probe_engine.reached("ping")
        now[0] = enginehealth.SILENCE_LIMIT_S + 1
        await until(lambda: liveness.late() == {}, "the next ping")

        world.probe_engine.failures["ping"] = [EngineUnavailable("refused")] * 10_000
        await until(lambda: not health.healthy)
        now[0] *= 2
        await until(lambda: liveness.late() == {}, "a refusal, which is an answer")

        world.probe_engine.failures["ping"] = []
        monkeypatch.setattr(world.probe_engine, "ping", asyncio.Event().wait)
        await until(lambda: health.healthy is False)
        now[0] *= 2
        await until(lambda: liveness.late().keys() == {"engine"})


async def test_a_call_that_cannot_be_cancelled_does_not_delay_the_verdict(world: World) -> None:
    world.configure(
        sidecar_root_fs="docker:///busybox",
        garden_healthcheck_interval_s=0.005,
        garden_healthcheck_timeout_s=0.05,
    )
    answer = asyncio.Event()

    async def deaf(_guid: str) -> None:
        await finish(answer.wait())

    async with world.running() as (executor, _):
        await until(lambda: any(call.startswith("destroy check") for call in world.probe_engine.calls))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.probe_engine, "destroy", deaf)
            await until(lambda: not executor.healthy)
            assert not answer.is_set()
        answer.set()
        await until(lambda: executor.healthy)


async def test_an_engine_that_never_works_ends_the_executor(world: World) -> None:
    world.configure(
        sidecar_root_fs="docker:///busybox",
        garden_healthcheck_timeout_s=0.02,
        garden_healthcheck_command_retry_pause_s=0.001,
    )
    world.probe_engine.exit_status = 1
    with pytest.raises(ExceptionGroup) as raised:
        async with world.running():
            await asyncio.Event().wait()
    assert str(raised.value.exceptions[0]) == "garden healthcheck timed out"
