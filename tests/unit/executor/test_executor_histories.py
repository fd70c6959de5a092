"""Invariants of the executor under any history of calls, failures and process ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.api import ExecutorAPI
from executor.containers.machine import MISSING
from executor.errors import ContainerNotFound, EngineError, ExecutorError, HandedOver, NetworkError
from executor.model import AllocationRequest, Container, ContainerEvent, ContainerState, EventKind
from executor.steps.base import EmittableError
from tests.support.thorough import examples
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

from tests.support.executor_doubles import run_request

pytestmark = pytest.mark.unit

GUIDS = st.sampled_from(["a", "b"])
MOVES = st.one_of(
    st.tuples(st.sampled_from(["start", "ready", "end", "stop", "delete"]), GUIDS, st.booleans()),
    st.tuples(st.sampled_from(["allocate", "run", "crash", "flip"]), GUIDS, st.booleans()),
    st.tuples(
        st.sampled_from(["hold", "release", "fail"]),
        st.sampled_from(["create", "destroy", "attach"]),
        st.booleans(),
    ),
)
"""What happens, to what, and whether all tasks then go as far as they can before the next one."""

LATER = {EventKind.RESERVED: 0, EventKind.RUNNING: 1, EventKind.COMPLETE: 2}


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(25):
        await asyncio.sleep(0)


class History:
    """Performs moves; what is impossible at the moment must be refused by the executor itself."""

    def __init__(
        self,
        world: World,
        executor: ExecutorAPI,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._world = world
        self._executor = executor
        self._tasks = tasks

    async def perform(self, move: str, subject: str) -> None:
        if move in {"ready", "end", "crash", "flip"}:
            self._move_group(move, subject)
        elif move == "hold":
            self._world.engine.gates.setdefault(subject, asyncio.Event())
        elif move == "release":
            self._world.engine.gates.pop(subject, asyncio.Event()).set()
        elif move == "fail" and subject == "attach":
            self._world.network.failures["attach"] = [NetworkError("nft")]
        elif move == "fail":
            self._world.engine.failures[subject] = [EngineError("engine")]
        elif move == "start":
            await self._call("allocate", subject)
            await self._call("run", subject)
        else:
            await self._call(move, subject)

    def _move_group(self, move: str, guid: str) -> None:
        group = self._world.groups.groups.get(guid)
        if group is None or group.ended:
            return
        if move == "ready":
            group.ready.set()
        elif move == "flip":
            group.flip_readiness(not group.routable_when_ready)
        else:
            group.end(EmittableError("APP: Exited with status 1") if move == "crash" else None)

    async def _call(self, move: str, guid: str) -> None:
        if move == "allocate":
            self._executor.allocate([AllocationRequest(guid=guid, memory_mb=100, disk_mb=10)])
        elif move == "delete":
            self._tasks.create_task(self._delete(guid))
        else:
            with suppress(ExecutorError):
                if move == "run":
                    await self._executor.run(run_request(guid, ports=(8080, 8081)))
                else:
                    await self._executor.stop(guid)

    async def _delete(self, guid: str) -> None:
        with suppress(ContainerNotFound, EngineError, HandedOver):
            await self._executor.delete(guid)


async def live_and_be_killed(
    world: World, moves: list[tuple[str, str, bool]]
) -> tuple[dict[str, Container], list[ContainerEvent]]:
    """The containers of an executor that ends without any effect, and its events."""
    events = []
    async with world.build() as executor:
        with executor.subscribe() as subscription:
            async with asyncio.TaskGroup() as tasks:
                history = History(world, executor, tasks)
                for move, subject, settled in moves:
                    await history.perform(move, subject)
                    if settled:
                        await settle()
                containers = {container.guid: container for container in executor.containers()}
                await executor.detach()
                calls = list(world.engine.calls)
                for gate in world.engine.gates.values():
                    gate.set()
            assert world.engine.calls == calls
            async for event in subscription:
                events.append(event)
    world.engine.gates.clear()
    world.engine.failures.clear()
    world.network.failures.clear()
    return containers, events


def continued(before: Container, now: Container) -> bool:
    """Whether a later executor has a container as the previous one had it, or knows that it is gone."""
    if now == before or before.state is ContainerState.INITIALIZING:
        return True
    return now.run_result.failed and now.run_result.failure_reason == MISSING


async def live_through(world: World, moves: list[tuple[str, str, bool]]) -> None:
    async with world.running() as (executor, events):
        async with asyncio.TaskGroup() as tasks:
            history = History(world, executor, tasks)
            for move, subject, settled in moves:
                await history.perform(move, subject)
                if settled:
                    await settle()
                containers = executor.containers()
                total, left = executor.total_resources(), executor.remaining_resources()
                assert total.memory_mb - left.memory_mb == 100 * len(containers)
                assert total.containers - left.containers == len(containers)
            world.engine.failures.clear()
            world.network.failures.clear()
            for gate in world.engine.gates.values():
                gate.set()
        for container in executor.containers():
            await executor.delete(container.guid)
        assert executor.containers() == []
        assert executor.remaining_resources() == executor.total_resources()
        assert world.engine.containers == {}
        assert world.network.mappings == {}
        assert world.network.free == list(range(61001, 61011))
        executor.allocate([AllocationRequest(guid="last")])
        while (await events.next()).container.guid != "last":
            pass
    check_events([(event.container.guid, event.kind) for event in events.seen])
    for event in events.seen:
        completed = event.container.state is ContainerState.COMPLETED
        assert (event.kind is EventKind.COMPLETE) is completed


def check_events(told: list[tuple[str, EventKind]]) -> None:
    """Of each life: reserved first, complete last and once, running in between."""
    state: dict[str, EventKind] = {}
    counts: Counter[str] = Counter()
    for guid, kind in told:
        if kind is EventKind.RESERVED:
            assert state.get(guid, EventKind.COMPLETE) is EventKind.COMPLETE
        else:
            assert LATER[kind] >= LATER[state[guid]]
            assert state[guid] is not EventKind.COMPLETE
        state[guid] = kind
        counts[guid] += 1
    assert counts["last"] == 1


@settings(
    max_examples=examples(75), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lives=st.lists(st.lists(MOVES, max_size=15), min_size=1, max_size=4))
def test_any_history_of_processes_that_are_killed(
    make_world: Callable[[], World],
    lives: list[list[tuple[str, str, bool]]],
) -> None:
    """Each process goes on where the one before was killed; the last one leaves nothing."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            world, told = make_world(), list[ContainerEvent]()
            for moves in lives:
                containers, events = await live_and_be_killed(world, moves)
                told += events
                world = world.later()
                async with world.build() as executor:
                    now = {container.guid: container for container in executor.containers()}
                    await executor.detach()
                assert now.keys() == containers.keys()
                assert all(continued(containers[guid], now[guid]) for guid in now)
                world = world.later()
            async with world.running() as (last, reader):
                for container in last.containers():
                    await last.delete(container.guid)
                last.allocate([AllocationRequest(guid="last")])
                while (await reader.next()).container.guid != "last":
                    pass
                await last.delete("last")
                told += reader.seen
            assert world.engine.containers == {}
            assert world.network.mappings == {}
            assert world.network.free == list(range(61001, 61011))
            assert world.journal.rows.containers == {}
            check_events([(event.container.guid, event.kind) for event in told])

    asyncio.run(bounded())


@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moves=st.lists(MOVES, max_size=40))
def test_any_history(
    make_world: Callable[[], World],
    moves: list[tuple[str, str, bool]],
) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await live_through(make_world(), moves)

    asyncio.run(bounded())
