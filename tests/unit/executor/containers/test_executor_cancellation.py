"""Containers whose caller is cancelled at any moment: they can be deleted without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pytest

from bbs.models.workload import SecurityGroupRule
from executor.engine.api import BindMount, EngineContainer
from executor.errors import ContainerNotFound
from executor.model import Container
from tests.support.cancellation import ONCE_AND_TWICE, Cancel, cancelled_everywhere
from tests.support.executor_doubles import (
    ScriptedDependencies,
    ScriptedEngine,
    ScriptedNetwork,
    World,
    allocation,
    run_request,
)

pytestmark = pytest.mark.unit

PASSES = 12
"""Of the loop, from the order to run until the steps of a container run, and some more."""


class SlowEngine(ScriptedEngine):
    """Every operation takes some passes of the loop."""

    async def _perform(self, operation: str) -> None:
        await asyncio.sleep(0)
        await super()._perform(operation)
        await asyncio.sleep(0)


class SlowNetwork(ScriptedNetwork):
    """Puts things in force, and then takes a pass more."""

    async def attach(
        self, container: EngineContainer, ports: Mapping[int, int], egress: Sequence[SecurityGroupRule] = ()
    ) -> None:
        await super().attach(container, ports, egress)
        await asyncio.sleep(0)

    async def detach(self, guid: str) -> None:
        await asyncio.sleep(0)
        await super().detach(guid)
        await asyncio.sleep(0)


class Pins(ScriptedDependencies):
    """Counts what is pinned."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: set[str] = set()

    async def mounts(self, container: Container) -> tuple[BindMount, ...]:
        self.pinned.add(container.guid)
        await asyncio.sleep(0)
        return ()

    async def release(self, guid: str) -> None:
        await asyncio.sleep(0)
        self.pinned.discard(guid)


async def settled() -> None:
    """Let everything run that is ready."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["delete", "force_destroy"])
@pytest.mark.parametrize("how", ONCE_AND_TWICE, ids=str)
@pytest.mark.parametrize("passes", range(PASSES))
async def test_a_life_that_is_given_up_anywhere(
    make_world: Callable[[], World], how: Cancel, passes: int, end: str
) -> None:
    """The order to run or to delete is cancelled at each of its waits, at each moment of the creation."""
    world = make_world()
    world.engine, world.network, world.dependencies = SlowEngine(), SlowNetwork(), Pins()
    async with world.running() as (executor, _):
        await settled()
        total, tasks = executor.total_resources(), len(asyncio.all_tasks())

        async def life() -> None:
            assert executor.allocate([allocation()]) == []
            await executor.run(run_request(ports=(8080,)))
            for _ in range(passes):
                await asyncio.sleep(0)
            await getattr(executor, end)("ig")

        cancelled = 0
        async for outcome in cancelled_everywhere(life, how):
            cancelled += outcome.cancelled
            with suppress(ContainerNotFound):  # it had been deleted
                await executor.delete("ig")
            await settled()
            assert executor.remaining_resources() == total, outcome
            assert (world.engine.containers, world.network.mappings) == ({}, {}), outcome
            assert (world.network.addresses, len(world.network.free)) == ({}, 10), outcome
            assert world.dependencies.pinned == set(), outcome
            assert len(asyncio.all_tasks()) <= tasks, outcome
        assert cancelled > passes
