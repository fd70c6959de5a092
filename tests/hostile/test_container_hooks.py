"""Failures of each hook of the executor: other containers are not affected."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import pytest

from executor import cgroup, upkeep
from executor.config import ExecutorConfig
from executor.containers import actor, destruction
from executor.containers.machine import is_expired
from executor.containment import INTERNAL_ERROR, is_shortage
from executor.engine.api import ContainerSpec
from executor.errors import ExecutorError
from executor.executor import Executor
from executor.model import (
    AllocationRequest,
    Container,
    ContainerMetrics,
    ContainerState,
    LogConfig,
    MetricsConfig,
    RunInfo,
    RunRequest,
)
from executor.scheduler import FAILED_PASSES_MOST
from executor.steps.base import StepError
from executor.telemetry.app_metrics import AppMetrics
from executor.watch import counters, limits
from executor.watch.counters import LimitCounters
from executor.watch.diskusage import DiskUsage
from executor.watch.layerusage import LayerUsage
from executor.watch.limits import FAILURES_MOST, UNWATCHABLE, LimitsWatch
from executor.watch.samples import Reading
from tests.support.executor_doubles import ScriptedGroup, World

pytestmark = pytest.mark.unit

SOON = 0.002
BAD, GOOD = "bad", "good"

ERRORS: dict[str, Callable[[], Exception]] = {
    "RecursionError": lambda: RecursionError("maximum recursion depth exceeded"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "ValueError": lambda: ValueError("Exceeds the limit (4300 digits) for integer string conversion"),
    "EMFILE": lambda: OSError(errno.EMFILE, "Too many open files"),
    "MemoryError": MemoryError,
}


class Hooks:
    """Makes one hook of the executor fail for the container ``bad``, and counts how often it did."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch, make_error: Callable[[], Exception]) -> None:
        self.world = world
        self.patch = patch
        self.make_error = make_error
        self.failed = 0

    def fail(self) -> None:
        self.failed += 1
        raise self.make_error()

    def fail_for(self, guid: str) -> None:
        if BAD in guid:
            self.fail()

    def wrap(self, owner: Any, name: str, guid_of: Callable[..., str]) -> None:
        """Make a function, plain or not, fail for ``bad`` before it does anything."""
        real = getattr(owner, name)

        def plain(*arguments: Any, **more: Any) -> Any:
            self.fail_for(guid_of(*arguments, **more))
            return real(*arguments, **more)

        async def awaited(*arguments: Any, **more: Any) -> Any:
            self.fail_for(guid_of(*arguments, **more))
            return await real(*arguments, **more)

        self.patch.setattr(owner, name, awaited if asyncio.iscoroutinefunction(real) else plain)

    def creation(self) -> None:
        self.wrap(self.world.engine, "create", lambda spec, **_: spec.guid)

    def dependencies(self) -> None:
        self.wrap(self.world.dependencies, "mounts", lambda container: container.guid)

    def attachment(self) -> None:
        self.wrap(self.world.network, "attach", lambda made, *_: made.guid)

    def launch(self) -> None:
        self.wrap(actor.ContainerActor, "_prepare", lambda self, *_: self.container.guid)

    def step(self) -> None:
        self.wrap(ScriptedGroup, "run", lambda self: self.container.guid)

    def readiness(self) -> None:
        self.wrap(actor.ContainerActor, "_become_ready", lambda self: self.container.guid)

    def limits(self) -> None:
        def read_limit_counters(pid: int, container_id: str, _: object) -> LimitCounters:
            self.fail_for(container_id)
            return LimitCounters()

        self.patch.setattr(limits, "read_limit_counters", read_limit_counters)

    def disk(self) -> None:
        async def usage(_: DiskUsage, guid: str, *__: object) -> LayerUsage:
            self.fail_for(guid)
            return LayerUsage()

        self.patch.setattr(DiskUsage, "of", usage)

    def metrics(self) -> None:
        def read(pid: int, container_id: str, disk: int) -> Reading:
            self.fail_for(container_id)
            return Reading(memory_usage=1, disk_usage=disk, cpu_ns=1)

        self.patch.setattr(counters, "read", read)

    def log(self) -> None:
        self.wrap(self.world.sink, "emit", lambda line: line.source_id)

    def destruction(self) -> None:
        self.wrap(self.world.engine, "destroy", lambda guid: guid)

    def detachment(self) -> None:
        self.wrap(self.world.network, "detach", lambda guid: guid)

    def release(self) -> None:
        self.wrap(self.world.dependencies, "release", lambda guid: guid)

    def closing(self) -> None:
        self.wrap(ScriptedGroup, "close", lambda self: self.container.guid)

    def vanishing(self) -> None:
        real = self.world.engine.list_guids

        async def without_bad() -> set[str]:
            return {guid for guid in await real() if BAD not in guid}

        self.patch.setattr(self.world.engine, "list_guids", without_bad)
        self.wrap(actor.ContainerActor, "vanished", lambda self: self.container.guid)


async def started(world: World, executor: Executor, guid: str) -> None:
    request = AllocationRequest(guid=guid, memory_mb=64, disk_mb=64)
    assert executor.allocate([request]) == []
    info = RunInfo(root_fs="docker:///busybox", log_config=LogConfig(guid=f"log-{guid}", source_name="APP"))
    await executor.run(RunRequest(guid=guid, run_info=info))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    often = {f"container_{name}_interval_s": SOON for name in ("reap", "metrics_report", "limits")}
    config = ExecutorConfig(
        cell_id="cell-1", memory_mb=1024, disk_mb=2048, max_containers=5, temp_dir=str(tmp_path), **often
    )
    return World(config)


@pytest.fixture(autouse=True)
def healthy_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers of the scripted engine have no processes to read anything of."""

    async def usage(*_: object) -> LayerUsage:
        return LayerUsage()

    monkeypatch.setattr(DiskUsage, "of", usage)
    monkeypatch.setattr(limits, "read_limit_counters", lambda *_: LimitCounters())
    monkeypatch.setattr(counters, "read", lambda *_: Reading(memory_usage=1, disk_usage=1, cpu_ns=1))


@pytest.fixture
def hooks(world: World, monkeypatch: pytest.MonkeyPatch, error: str) -> Hooks:
    return Hooks(world, monkeypatch, ERRORS[error])


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while True:
            if holds():
                return
            await asyncio.sleep(SOON)


async def good_runs_on(world: World, executor: Executor) -> None:
    """The other container is what it was, and everything still works for it and for a new one."""
    assert executor.container(GOOD).state is ContainerState.RUNNING
    assert world.groups.groups[GOOD].interrupts == 0
    await started(world, executor, "new")
    (await world.group("new")).ready.set()
    await until(lambda: executor.container("new").state is ContainerState.RUNNING)
    for guid in (GOOD, "new"):
        await executor.delete(guid)


every_error = pytest.mark.parametrize("error", ERRORS)


@every_error
@pytest.mark.parametrize("hook", ["creation", "dependencies", "attachment", "launch", "step", "readiness"])
async def test_a_life_that_fails_is_one_life(
    world: World, hooks: Hooks, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The container completes with "internal error", or the words of that step; the trace is logged once."""
    getattr(hooks, hook)()
    async with world.build() as executor:
        await started(world, executor, GOOD)
        (await world.group(GOOD)).ready.set()
        await until(lambda: executor.container(GOOD).state is ContainerState.RUNNING)
        await started(world, executor, BAD)
        if hook == "readiness":
            (await world.group(BAD)).ready.set()
        await until(lambda: executor.container(BAD).state is ContainerState.COMPLETED)
        result = executor.container(BAD).run_result
        assert result.failed
        assert result.failure_reason in (INTERNAL_ERROR, "failed to download cached artifacts")
        await executor.delete(BAD)
        await good_runs_on(world, executor)
        assert executor.remaining_resources() == executor.total_resources()
    traces = [record for record in caplog.records if record.exc_info]
    assert len(traces) == 1 or result.failure_reason != INTERNAL_ERROR


@every_error
@pytest.mark.parametrize("hook", ["limits", "disk", "metrics", "log", "vanishing"])
async def test_a_container_that_cannot_be_watched_is_one_container(
    world: World, hooks: Hooks, hook: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends when its limits cannot be kept, unless it was the host that was short of something."""
    getattr(hooks, hook)()
    async with world.build() as executor:
        for guid in (GOOD, BAD):
            await started(world, executor, guid)
            (await world.group(guid)).ready.set()
        await until(lambda: executor.container(GOOD).state is ContainerState.RUNNING)
        ends = hook in ("limits", "disk") and not is_shortage(hooks.make_error())
        if ends:
            await until(lambda: executor.container(BAD).state is ContainerState.COMPLETED)
            assert executor.container(BAD).run_result.failure_reason == UNWATCHABLE
        else:
            await until(lambda: hooks.failed > (1 if hook == "log" else FAILURES_MOST))
            await until(lambda: executor.container(BAD).state is ContainerState.RUNNING)
        await executor.delete(BAD)
        await good_runs_on(world, executor)
        assert executor.remaining_resources() == executor.total_resources()
    if hook != "log":
        traced = [vars(record)["data"]["hook"] for record in caplog.records if record.exc_info]
        assert len(traced) == len(set(traced)) >= 1


@every_error
@pytest.mark.parametrize("hook", ["destruction", "detachment", "release", "closing"])
async def test_a_container_that_cannot_be_removed_is_one_container(
    world: World, hooks: Hooks, hook: str
) -> None:
    """The deletion fails in known words, can be repeated, and gives back what it can."""
    getattr(hooks, hook)()
    async with world.build() as executor:
        for guid in (GOOD, BAD):
            await started(world, executor, guid)
            (await world.group(guid)).ready.set()
        await until(lambda: executor.container(GOOD).state is ContainerState.RUNNING)
        if hook == "closing":
            await executor.delete(BAD)
        else:
            for _ in range(2):
                with pytest.raises(ExecutorError):
                    await executor.delete(BAD)
            await executor.force_destroy(BAD)
        await good_runs_on(world, executor)
        assert executor.remaining_resources() == executor.total_resources()


@every_error
async def test_a_stray_that_cannot_be_destroyed_does_not_keep_others(world: World, hooks: Hooks) -> None:
    hooks.destruction()
    async with world.build() as executor:
        await started(world, executor, GOOD)
        (await world.group(GOOD)).ready.set()
        await until(lambda: executor.container(GOOD).state is ContainerState.RUNNING)
        for stray in (f"a-{BAD}", "b-stray"):
            world.engine.containers[stray] = ContainerSpec(guid=stray, root_fs="x")
        await until(lambda: "b-stray" not in world.engine.containers and hooks.failed > 2)
        assert GOOD in world.engine.containers
        await good_runs_on(world, executor)


@every_error
async def test_a_reservation_that_cannot_expire_does_not_keep_others(
    world: World, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(reserved_expiration_time_s=2 * SOON)
    hooks.wrap(upkeep, "is_expired", lambda container, *_: container.guid)
    assert upkeep.is_expired is not is_expired
    async with world.build() as executor:
        for guid in (BAD, "late"):
            executor.allocate([AllocationRequest(guid=guid, memory_mb=1)])
        world.clock.now += 1
        await until(lambda: executor.container("late").state is ContainerState.COMPLETED)
        assert executor.container(BAD).state is ContainerState.RESERVED


@every_error
def test_metrics_of_one_app_that_cannot_be_told_do_not_keep_others(world: World, error: str) -> None:
    told: list[str] = []

    class Emitter:
        def emit_metric(self, metric: Any) -> None:
            if metric.labels.source_id == BAD:
                raise ERRORS[error]()
            told.append(metric.labels.source_id)

    app_metrics = AppMetrics(Emitter(), lambda guid: 0, world.clock)

    def container(guid: str) -> Container:
        return Container(guid=guid, run_info=RunInfo(metrics_config=MetricsConfig(guid=guid)))

    for _ in range(2):
        app_metrics.report((container(guid), ContainerMetrics()) for guid in (BAD, GOOD))
    assert GOOD in told


@every_error
async def test_periodic_work_survives_any_error(
    world: World, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is logged once, and the work continues as soon as possible."""
    world.network.failures["verify"] = []
    failures = [ERRORS[error]() for _ in range(20)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("executor.upkeep.NETWORK_CHECK_INTERVAL_S", SOON)
        world.network.failures["verify"] = failures
        async with world.build():
            async with asyncio.timeout(20):
                await world.network.verified.wait()
    told = [record for record in caplog.records if record.message == "upkeep-failed"]
    assert len(told) == 20
    assert [bool(record.exc_info) for record in told] == [True, *[False] * 19]


async def test_periodic_work_that_never_succeeds_again_ends_the_cell_with_its_reason(world: World) -> None:
    world.network.failures["verify"] = [ValueError("no such table") for _ in range(FAILED_PASSES_MOST)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("executor.upkeep.NETWORK_CHECK_INTERVAL_S", 0)
        with pytest.raises(ExceptionGroup) as caught:
            async with world.build():
                await asyncio.Event().wait()
    [reason] = caught.value.exceptions
    assert str(reason) == f"verify failed {FAILED_PASSES_MOST} times in a row: no such table"


@every_error
async def test_an_end_has_its_own_reason_whatever_the_last_look_at_limits_says(
    world: World, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent out of descriptors when an app ends: the app's own status is the reason, not ours."""

    def fail() -> list[cgroup.Mount]:
        raise ERRORS[error]()

    world.configure(container_limits_interval_s=3600)
    monkeypatch.setattr(cgroup, "own_mounts", fail)
    async with world.build() as executor:
        await started(world, executor, BAD)
        (await world.group(BAD)).end(StepError("APP: Exited with status 3"))
        await until(lambda: executor.container(BAD).state is ContainerState.COMPLETED)
        assert executor.container(BAD).run_result.failure_reason == "APP: Exited with status 3"


async def test_a_stray_whose_guid_is_used_again_is_spared(world: World) -> None:
    """The guid is reserved anew while an earlier stray is being destroyed."""
    world.configure(container_reap_interval_s=SOON)
    gate = world.engine.gates["destroy"] = asyncio.Event()
    async with world.build() as executor:
        for stray in ("a-first", "b-again"):
            world.engine.containers[stray] = ContainerSpec(guid=stray, root_fs="x")
        await world.engine.reached("destroy a-first")
        assert executor.allocate([AllocationRequest(guid="b-again", memory_mb=1)]) == []
        gate.set()
        passes = world.engine.calls.count("list_guids")
        await until(lambda: world.engine.calls.count("list_guids") > passes + 1)
        assert "destroy b-again" not in world.engine.calls
        assert "b-again" in world.engine.containers


async def test_a_stray_whose_guid_is_used_again_meanwhile_keeps_its_new_network(world: World) -> None:
    world.configure(container_reap_interval_s=SOON)
    gate = world.engine.gates["destroy"] = asyncio.Event()
    async with world.build() as executor:
        world.engine.containers["again"] = ContainerSpec(guid="again", root_fs="x")
        await world.engine.reached("destroy again")
        await started(world, executor, "again")
        await world.group("again")
        gate.set()
        passes = world.engine.calls.count("list_guids")
        await until(lambda: world.engine.calls.count("list_guids") > passes + 1)
        assert "again" in world.network.addresses


async def test_what_was_known_of_a_container_that_goes_while_it_is_looked_at_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container destroyed in the middle of a look leaves no entry behind for the life of the cell."""
    known: dict[str, Any] = {}
    seen = LimitsWatch.retain

    def retain(watch: LimitsWatch, guids: Set[str]) -> None:
        watch._report(Container(guid="gone"), LimitCounters())
        seen(watch, guids)
        known.clear()
        known.update(watch._known)
        known["looked"] = True

    monkeypatch.setattr(LimitsWatch, "retain", retain)
    async with world.build() as executor:
        await started(world, executor, GOOD)
        await world.group(GOOD)
        await until(lambda: {"looked", GOOD} == set(known))
        await executor.delete(GOOD)


async def test_a_forced_end_gives_resources_back_also_when_its_caller_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destruction, "KILL_LIMIT_S", 0.05)
    async with world.build() as executor:
        await started(world, executor, BAD)
        await world.group(BAD)
        world.engine.gates["destroy"] = asyncio.Event()
        forcing = asyncio.create_task(executor.force_destroy(BAD))
        await world.engine.reached(f"destroy {BAD}")
        forcing.cancel()
        await asyncio.wait([forcing])
        await until(lambda: executor.remaining_resources() == executor.total_resources())
        world.engine.gates["destroy"].set()
