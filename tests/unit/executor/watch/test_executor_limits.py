"""Reached limits: kernel counters, log lines for the owner, ends of containers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from executor import cgroup
from executor.cgroup import Mount
from executor.engine.api import EngineContainer
from executor.logs.api import Stream
from executor.model import Container, ContainerState, EventKind, RunResult
from executor.watch import btrfs, counters, layerusage
from executor.watch.counters import FullTable, LimitCounters, read_limit_counters
from executor.watch.diskusage import (
    GROWING_LIFETIME_FACTOR,
    GROWING_LIFETIME_MOST_S,
    LIFETIME_FACTOR,
    DiskUsage,
)
from executor.watch.layerusage import LayerUsage
from executor.watch.limits import REPEAT_S, LimitsWatch, nearly_full, newly_reached, overrun, throttled
from executor.watch.readings import Watched
from tests.support.executor_doubles import begin

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit

MIB = 1 << 20
CONTAINER = Container(
    guid="ig", state=ContainerState.RUNNING, max_pids=100, memory_limit=64 * MIB, disk_limit=128 * MIB
)


@pytest.mark.parametrize(
    ("before", "now", "written"),
    [
        (LimitCounters(), LimitCounters(), []),
        (LimitCounters(killed_for_memory=1), LimitCounters(killed_for_memory=1), []),
        (
            LimitCounters(killed_for_memory=1),
            LimitCounters(killed_for_memory=2),
            ["Memory limit of 64M exceeded: the kernel ended a process of this instance"],
        ),
        (
            LimitCounters(),
            LimitCounters(refused_processes=7),
            ["Process limit of 100 reached: new processes or threads are refused"],
        ),
        (
            LimitCounters(),
            LimitCounters(full_tables=(FullTable(7, "app", 1024),)),
            ["Limit of 1024 open files reached: process 'app' can open no more"],
        ),
    ],
)
def test_the_owner_is_told_which_limit_it_was(
    before: LimitCounters, now: LimitCounters, written: list[str]
) -> None:
    assert [*newly_reached(CONTAINER, before, now).values()] == written


def test_an_instance_without_limits_meets_those_of_the_machine() -> None:
    counters = LimitCounters(killed_for_memory=1, refused_processes=1)
    assert [*newly_reached(Container(guid="ig"), LimitCounters(), counters).values()] == [
        "The cell has no memory left: the kernel ended a process of this instance",
        "Process limit of the cell's container engine reached: new processes or threads are refused",
    ]


@pytest.mark.parametrize(
    ("periods", "slowed", "written"),
    [(20, 11, True), (20, 10, False), (20, 0, False), (5, 5, True), (4, 4, False), (0, 0, False)],
)
def test_a_hard_cpu_limit_that_matters_most_of_the_time_is_told(
    periods: int, slowed: int, written: bool
) -> None:
    before = LimitCounters(cpu_periods=100, throttled_periods=90)
    now = LimitCounters(cpu_periods=100 + periods, throttled_periods=90 + slowed)
    text = "CPU limit of 12.5% of a core reached: this instance is slowed down"
    assert throttled(12.5, before, now) == ({"cpu": text} if written else {})


@pytest.mark.parametrize(
    ("usage", "image", "text"),
    [
        (91 * MIB, 0, "Disk limit of 100M reached, or nearly: 91M in use"),
        (89 * MIB, 0, ""),
        (87 * MIB, 20 * MIB, ""),
        (88 * MIB, 20 * MIB, "Disk limit of 120M reached, or nearly: 108M in use"),
    ],
)
def test_a_quota_that_is_nearly_used_up_is_told(usage: int, image: int, text: str) -> None:
    assert nearly_full(LayerUsage(100 * MIB, 5), LayerUsage(usage, 9), image) == (
        {"disk": text} if text else {}
    )


def test_without_a_disk_limit_nothing_is_nearly_full() -> None:
    assert nearly_full(LayerUsage(0, 5), LayerUsage(1 << 40, 9), 0) == {}


@pytest.mark.parametrize(
    ("disk_limit", "inode_limit", "usage", "reason"),
    [
        (128 * MIB, 10, LayerUsage(128 * MIB, 10), ""),
        (128 * MIB, 10, LayerUsage(130 * MIB, 11), "disk limit of 128M exceeded: 130M in use"),
        (128 * MIB, 10, LayerUsage(1, 11), "inode limit of 10 exceeded: 11 files and directories"),
        (0, 0, LayerUsage(1 << 40, 1 << 30), ""),
    ],
)
def test_too_much_on_disk_ends_a_container(
    disk_limit: int, inode_limit: int, usage: LayerUsage, reason: str
) -> None:
    assert overrun(LayerUsage(disk_limit, inode_limit), usage) == reason


def test_what_an_image_of_its_own_takes_is_told() -> None:
    reason = "disk limit of 128M exceeded: 130M in use, 100M by its image"
    assert overrun(LayerUsage(28 * MIB), LayerUsage(30 * MIB), 100 * MIB) == reason


class Kernel:
    """The files of one container's init, pid 77, and of its processes."""

    def __init__(self, root: Path, *, unified: bool) -> None:
        self._proc = root / "proc"
        self._groups = root / "cgroup"
        if unified:
            membership, self._memory = "0::/box/abc\n", self._groups / "box" / "abc" / "memory.events"
            self._pids = self._memory.parent
            self.hierarchies = [Mount("/", str(self._groups), "cgroup2", "rw")]
        else:
            membership = "2:memory:/box/abc\n1:pids:/box/abc\n"
            self._memory = self._groups / "memory" / "box" / "abc" / "memory.oom_control"
            self._pids = self._groups / "pids" / "box" / "abc"
            self.hierarchies = [
                Mount("/", str(self._groups / name), "cgroup", f"rw,{name}") for name in ("memory", "pids")
            ]
        for folder in (self._memory.parent, self._pids, self._proc / "77"):
            folder.mkdir(parents=True, exist_ok=True)
        (self._proc / "77" / "cgroup").write_text(membership)
        self.counts(kills=0, refused=0)
        self.processes()

    @property
    def proc(self) -> Path:
        return self._proc

    def counts(self, *, kills: int, refused: int) -> None:
        self._memory.write_text(f"under_oom 0\noom_kill {kills}\n")
        (self._pids / "pids.events").write_text(f"max {refused}\n")

    def processes(self, *open_and_limit: tuple[int, str]) -> None:
        pids = range(100, 100 + len(open_and_limit))
        (self._pids / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in (*pids, 999)))
        for pid, (opened, limit) in zip(pids, open_and_limit, strict=True):
            (self._proc / str(pid) / "fd").mkdir(parents=True)
            for number in range(opened):
                (self._proc / str(pid) / "fd" / str(number)).touch()
            line = f"Max open files            {limit:20} {limit:20} files\n"
            (self._proc / str(pid) / "limits").write_text(f"Limit  Soft Limit\n{line}")
            (self._proc / str(pid) / "comm").write_text("app\n")


@pytest.fixture(params=[True, False], ids=["v2", "v1"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path, unified=request.param)
    monkeypatch.setattr(cgroup, "PROC", made.proc)
    # The directories of a real kernel have the number of entries as their size, or none.
    monkeypatch.setattr(counters, "_has_open", lambda folder, count: len([*folder.iterdir()]) >= count)
    return made


def test_the_kernel_counts(kernel: Kernel) -> None:
    assert read_limit_counters(77, "abc", kernel.hierarchies) == LimitCounters()
    kernel.counts(kills=2, refused=3)
    kernel.processes((2, "4"), (4, "4"), (3, "unlimited"))
    assert read_limit_counters(77, "abc", kernel.hierarchies) == LimitCounters(
        killed_for_memory=2, refused_processes=3, full_tables=(FullTable(101, "app", 4),)
    )


@dataclass
class Watching:
    """A watch and its reports."""

    watch: LimitsWatch
    written: list[str]


@pytest.fixture
def watching(kernel: Kernel, world: World, monkeypatch: pytest.MonkeyPatch) -> Watching:
    monkeypatch.setattr(cgroup, "own_mounts", lambda: kernel.hierarchies)
    monkeypatch.setattr(layerusage, "upper_directory", lambda pid: Path("/"))
    monkeypatch.setattr(layerusage, "below", lambda upper, limits: LayerUsage(200 * MIB, 5))
    written: list[str] = []
    disk = DiskUsage(world.clock, min_age_s=1)
    watch = LimitsWatch(lambda container, text: written.append(text), disk, world.clock, inode_limit=0)
    return Watching(watch, written)


def watched(**changes: Any) -> list[Watched]:
    made = EngineContainer(guid="ig", id="abc", init_pid=77, address="", **changes)
    return [Watched(container=CONTAINER, engine_container=made, created_at_ns=0)]


async def test_a_limit_that_is_hit_again_and_again_is_told_now_and_then(
    watching: Watching, kernel: Kernel, world: World
) -> None:
    watch, written = watching.watch, watching.written
    for refused in (1, 2, 3):
        kernel.counts(kills=0, refused=refused)
        await watch.check(watched())
    assert len(written) == 1
    world.clock.now += REPEAT_S
    await watch.check(watched())
    assert len(written) == 1
    kernel.counts(kills=1, refused=4)
    await watch.check(watched())
    assert len(written) == 3
    watch.forget("ig")
    await watch.check(watched())
    assert len(written) == 5


async def test_what_a_previous_agent_process_reported_is_not_told_again(
    watching: Watching, kernel: Kernel
) -> None:
    kernel.counts(kills=1, refused=2)
    await watching.watch.adopt(watched())
    await watching.watch.check(watched())
    assert watching.written == []
    kernel.counts(kills=2, refused=2)
    await watching.watch.check(watched())
    assert len(watching.written) == 1


async def test_the_disk_limit_is_watched_where_the_engine_has_no_quota(watching: Watching) -> None:
    assert await watching.watch.check(watched()) == {"ig": "disk limit of 128M exceeded: 200M in use"}
    assert await watching.watch.check(watched(disk_quota=True)) == {}
    for _ in range(2):
        assert watching.written == ["Disk limit of 128M reached, or nearly: 200M in use"]
        await watching.watch.check(watched(disk_quota=True))


async def test_the_watcher_leaves_as_much_as_the_image_does(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layerusage, "below", lambda upper, limits: LayerUsage(100 * MIB, 5))
    assert await watching.watch.check(watched(image_bytes=20 * MIB)) == {}
    reason = "disk limit of 128M exceeded: 130M in use, 30M by its image"
    assert await watching.watch.check(watched(image_bytes=30 * MIB)) == {"ig": reason}


async def test_a_container_that_went_is_left_out(watching: Watching) -> None:
    made = EngineContainer(guid="ig", id="another", init_pid=77, address="")
    gone = Watched(container=CONTAINER, engine_container=made, created_at_ns=0)
    assert await watching.watch.check([gone]) == {}


class Storage:
    """A layer that costs a tenth of a second to count, on a file system that grows as the test says."""

    cost_s = 0.1

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.holds = LayerUsage(1000 * MIB, 1000)
        self.used = LayerUsage(28 * MIB, 10)
        self.readings = 0
        self._clock = world.clock
        self.usage = DiskUsage(world.clock, min_age_s=2)
        monkeypatch.setattr(layerusage, "upper_directory", lambda pid: Path("/upper"))
        monkeypatch.setattr(layerusage, "held_by_storage", lambda upper: self.holds)
        monkeypatch.setattr(layerusage, "below", self._count)

    def _count(self, upper: Path, limits: LayerUsage) -> LayerUsage:
        self._clock.now += self.cost_s
        self.readings += 1
        return self.used

    async def readings_after(self, seconds: float) -> int:
        """How often the layer was counted by then, of a container that may write 128 MiB and 110 files."""
        self._clock.now += seconds
        await self.usage.of("ig", 77, LayerUsage(128 * MIB, 110))
        return self.readings


@pytest.fixture
def storage(world: World, monkeypatch: pytest.MonkeyPatch) -> Storage:
    return Storage(world, monkeypatch)


async def test_a_reading_is_kept_the_longer_the_more_it_cost(storage: Storage) -> None:
    assert await storage.readings_after(0) == 1
    assert await storage.readings_after(0.1 * LIFETIME_FACTOR - 1) == 1
    assert await storage.readings_after(1) == 2
    storage.usage.retain(set())
    assert await storage.readings_after(0) == 3


@pytest.mark.parametrize(
    ("grown", "readings"),
    [
        (LayerUsage(50 * MIB, 50), 1),
        (LayerUsage(51 * MIB, 0), 2),
        (LayerUsage(0, 51), 2),
        (LayerUsage(-51 * MIB, -51), 1),
    ],
)
async def test_a_reading_is_in_doubt_when_the_storage_grew_by_half_of_what_is_left(
    storage: Storage, grown: LayerUsage, readings: int
) -> None:
    await storage.readings_after(0)
    storage.holds = LayerUsage(1000 * MIB + grown.size, 1000 + grown.inodes)
    assert await storage.readings_after(0.1 * GROWING_LIFETIME_FACTOR - 1) == 1
    assert await storage.readings_after(1) == readings


@pytest.mark.parametrize("used", [LayerUsage(128 * MIB, 1), LayerUsage(1, 110)])
async def test_a_reading_at_the_very_limit_is_in_doubt_when_the_storage_grew(
    storage: Storage, used: LayerUsage
) -> None:
    """An app that takes exactly what it may have, with many files, gets no minutes in which to take more."""
    storage.used = used
    await storage.readings_after(0)
    storage.holds = LayerUsage(1001 * MIB, 1001)
    assert await storage.readings_after(0.1 * GROWING_LIFETIME_FACTOR) == 2


async def test_a_layer_that_is_costly_to_count_is_not_beyond_its_limit_for_long(storage: Storage) -> None:
    """An app with 199,000 files, whose count takes two seconds, gets no minute and a half to make more."""
    storage.cost_s = 2.0
    await storage.readings_after(0)
    storage.holds = LayerUsage(1000 * MIB, 1100)
    assert await storage.readings_after(GROWING_LIFETIME_MOST_S - 3) == 1
    assert await storage.readings_after(1) == 2


@pytest.mark.parametrize(("kind", "usage"), [("btrfs", LayerUsage(7)), ("zfs", LayerUsage())])
async def test_a_root_that_is_no_overlay(
    world: World, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, kind: str, usage: LayerUsage
) -> None:
    (kernel.proc / "77" / "mountinfo").write_text(f"1 1 0:1 / / rw - {kind} /dev/x rw\n")
    monkeypatch.setattr(btrfs, "exclusive_bytes", lambda path: 7)
    assert await DiskUsage(world.clock, min_age_s=1).of("ig", 77) == usage


async def test_a_container_that_overruns_its_disk_fails_with_that_reason(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reason = "disk limit of 256M exceeded: 300M in use"

    async def check(self: LimitsWatch, seen: list[Watched]) -> dict[str, str]:
        return {one.container.guid: reason for one in seen}

    monkeypatch.setattr(LimitsWatch, "check", check)
    world.configure(container_limits_interval_s=0.01)
    async with world.running() as (executor, events):
        await begin(executor)
        group = await world.group("ig")
        complete = await events.until(EventKind.COMPLETE)
        await group.interrupted.wait()
        assert complete.run_result == RunResult(failed=True, failure_reason=reason)
        await executor.delete("ig")
    [line] = [line for line in world.sink.lines if line.stream is Stream.ERR]
    assert line.payload.decode() == "Disk limit of 256M exceeded: 300M in use: ending this instance"
