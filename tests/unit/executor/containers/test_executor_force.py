"""Forced destruction of a container that cannot be removed regularly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from executor.containers import destruction
from executor.errors import ContainerNotFound, EngineError, NetworkError
from executor.model import EventKind, RunResult
from tests.support.executor_doubles import allocation, begin
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destruction, "KILL_LIMIT_S", 0.02)


async def test_processes_that_will_not_end_are_not_waited_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.running() as (executor, events):
        await begin(executor, ports=(8080,))
        group = await world.group("ig")
        group.may_die.clear()
        async with asyncio.TaskGroup() as tasks:
            deletion = tasks.create_task(executor.delete("ig"))
            async with asyncio.timeout(PATIENCE_S):
                await group.interrupted.wait()
            await executor.force_destroy("ig", trace_id="t9")
        await deletion
        complete = await events.until(EventKind.COMPLETE)
        assert (complete.run_result, events.seen[-1].trace_id) == (
            RunResult(failed=True, failure_reason=destruction.FORCED, stopped=True),
            "t9",
        )
        assert world.engine.containers == {}
        assert (world.network.mappings, world.network.addresses) == ({}, {})
        assert world.dependencies.released == ["ig"]
        assert executor.remaining_resources() == executor.total_resources()
        with pytest.raises(ContainerNotFound):
            executor.container("ig")
        # what still ends afterwards concerns nobody
        group.flip_readiness(False)
        group.ready.set()
        group.may_die.set()
    assert group.closed
    assert "destroying-by-force" in caplog.text


async def test_an_engine_that_hangs_does_not_keep_the_slot(
    world: World,
    short_patience: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    hangs = world.engine.gates["destroy"] = asyncio.Event()
    async with world.running() as (executor, _):
        await begin(executor)
        (await world.group("ig")).end()
        async with asyncio.TaskGroup() as tasks:
            deletion = tasks.create_task(executor.delete("ig"))
            async with asyncio.timeout(PATIENCE_S):
                await world.engine.reached("destroy ig")
                await executor.force_destroy("ig")
                await deletion
        assert executor.containers() == []
        assert executor.remaining_resources() == executor.total_resources()
        assert "let-go-of-container-the-engine-still-has" in caplog.text
        assert world.network.addresses == {"ig": "10.255.0.7"}, "the container may still use its address"
        hangs.set()
        await until(lambda: not world.network.addresses)
    assert "abandoned-deletion-ended" in caplog.text


async def test_what_the_engine_keeps_is_a_stray(
    world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world.configure(container_reap_interval_s=0.01)
    world.engine.failures["destroy"] = [EngineError("device or resource busy")]
    async with world.running() as (executor, _):
        await begin(executor)
        await world.group("ig")
        await executor.force_destroy("ig")
        assert executor.containers() == []
        await until(lambda: not world.engine.containers and not world.network.addresses)
    assert "device or resource busy" in str([vars(record).get("data") for record in caplog.records])


async def test_a_creation_that_hangs_goes_too(world: World) -> None:
    world.engine.gates["create"] = asyncio.Event()
    async with world.running() as (executor, events):
        await begin(executor)
        async with asyncio.timeout(PATIENCE_S):
            await world.engine.reached("create ig")
        await executor.force_destroy("ig")
        assert (await events.until(EventKind.COMPLETE)).run_result.failure_reason == destruction.FORCED
        assert executor.allocate([allocation()]) == [], "the guid is free again"


async def test_an_end_that_was_told_is_not_told_again(world: World) -> None:
    world.network.failures["detach"] = [NetworkError("table is busy")]
    async with world.running() as (executor, events):
        executor.allocate([allocation()])
        await executor.stop("ig")
        await events.until(EventKind.COMPLETE)
        await executor.force_destroy("ig")
        executor.allocate([allocation("other")])
        assert (await events.next()).kind is EventKind.RESERVED
        with pytest.raises(ContainerNotFound):
            await executor.force_destroy("ig")
