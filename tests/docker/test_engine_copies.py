"""Large copies into and out of containers: they can be cancelled and delay no other work."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from docker import APIClient

from bbs.models.actions import DownloadAction
from executor.engine.api import ContainerSpec, EngineContainer
from executor.engine.docker import DockerEngine
from executor.errors import ContainerGone, EngineError
from executor.model import EventKind, RunResult

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

AT_ONCE_S = 1.0
"""A big copy takes many times as long."""

REMOVAL_S = 10.0
"""Longer than the engine takes to remove a container with some hundred MB, shorter than a big copy."""

HUGE = 16 << 30


@pytest.fixture
def huge(tmp_path: Path) -> str:
    """A tar whose one file takes minutes to copy; all of it is a hole, so that it takes no space here."""
    member = tarfile.TarInfo("huge")
    member.size = HUGE
    path = tmp_path / "huge.tar"
    with path.open("wb") as file:
        file.write(member.tobuf())
        file.truncate(tarfile.BLOCKSIZE + HUGE + 2 * tarfile.BLOCKSIZE)
    return str(path)


def now() -> float:
    return asyncio.get_running_loop().time()


def inside(container: EngineContainer, path: str) -> Path:
    """A path of the container, seen from here."""
    return Path(f"/proc/{container.init_pid}/root{path}")


def make_hole(path: Path) -> None:
    """A huge file with a few bytes of content at its begin."""
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(HUGE)


class Noticed(BytesIO):
    """The target of a copy, and whether something was written to it."""

    def __init__(self, written: asyncio.Event) -> None:
        super().__init__()
        self._written = written
        self._loop = asyncio.get_running_loop()

    def write(self, data: Any, /) -> int:
        self._loop.call_soon_threadsafe(self._written.set)
        return super().write(data)


async def until(holds: Callable[[], bool]) -> None:
    """Poll every few ms, because the engine reports no progress."""
    async with asyncio.timeout(20):
        while True:
            if holds():
                return
            await asyncio.sleep(0.005)


async def until_it_grows(file: Path) -> None:
    """Wait for the first megabytes of a file."""
    await until(lambda: file.exists() and file.stat().st_size > 4 << 20)


@asynccontextmanager
async def copying(
    engine: DockerEngine, container: EngineContainer, archive: str, *, to: str = "/tmp"
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(engine.stream_in(container, to, "vcap", archive))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, EngineError):
            await task


async def test_a_cancelled_copy_into_a_container_ends_at_once(
    engine: DockerEngine, rootfs_image: str, huge: str
) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    async with copying(engine, container, huge) as copy:
        await until_it_grows(inside(container, "/tmp/huge"))
        begun = now()
        copy.cancel()
        await asyncio.wait([copy])
        assert copy.cancelled()
        assert now() - begun < AT_ONCE_S
    begun = now()
    await engine.destroy("g1")
    assert now() - begun < REMOVAL_S


async def test_a_copy_that_waits_for_another_can_be_cancelled_too(
    engine: DockerEngine, rootfs_image: str, huge: str
) -> None:
    """The engine works on one copy of a container at a time, and does not listen to the others."""
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    async with copying(engine, container, huge):
        await until_it_grows(inside(container, "/tmp/huge"))
        async with copying(engine, container, huge, to="/home/other") as second:
            await until(inside(container, "/home/other").exists)
            begun = now()
            second.cancel()
            await asyncio.wait([second])
            assert now() - begun < AT_ONCE_S


async def test_copies_leave_the_engine_to_others(engine: DockerEngine, rootfs_image: str, huge: str) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    async with asyncio.TaskGroup() as group:
        copies = [
            group.create_task(engine.stream_in(container, f"/tmp/{number}", "vcap", huge))
            for number in range(12)
        ]
        await until(lambda: any(inside(container, f"/tmp/{number}/huge").exists() for number in range(12)))
        begun = now()
        assert await engine.list_guids() == {"g1"}
        assert now() - begun < AT_ONCE_S
        for copy in copies:
            copy.cancel()


async def test_destroying_a_container_ends_what_is_copied_into_it(
    engine: DockerEngine, rootfs_image: str, huge: str
) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    async with copying(engine, container, huge) as copy:
        await until_it_grows(inside(container, "/tmp/huge"))
        begun = now()
        await engine.destroy("g1")
        assert now() - begun < REMOVAL_S
        with pytest.raises(ContainerGone, match="g1"):
            await copy


async def test_destroying_a_container_ends_what_is_copied_out_of_it(
    engine: DockerEngine, rootfs_image: str, tmp_path: Path
) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    make_hole(inside(container, "/tmp/huge"))
    begun = asyncio.Event()
    with Noticed(begun) as target:
        copy = asyncio.create_task(engine.copy_out(container, "/tmp/huge", "root", target, HUGE))
        await begun.wait()
        started = now()
        await engine.destroy("g1")
        assert now() - started < REMOVAL_S
        with pytest.raises(ContainerGone, match="g1"):
            await copy


async def test_leaving_a_big_copy_out_of_a_container_early(engine: DockerEngine, rootfs_image: str) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    make_hole(inside(container, "/tmp/huge"))
    begun = asyncio.Event()
    with Noticed(begun) as target:
        copy = asyncio.create_task(engine.copy_out(container, "/tmp/huge", "root", target, HUGE))
        await begun.wait()
        cancelled = now()
        copy.cancel()
        await asyncio.wait([copy])
        await engine.destroy("g1")
        assert now() - cancelled < REMOVAL_S


def a_process_of(container_id: str) -> int:
    """Host pid of some process in a container, without asking the engine for more than its id."""
    for pid in psutil.pids():
        with suppress(OSError):
            if container_id in Path(f"/proc/{pid}/cgroup").read_text():
                return pid
    raise AssertionError(f"container {container_id} has no processes")


async def test_an_instance_is_deleted_in_the_middle_of_a_big_download(
    open_cell: Callable[..., AbstractAsyncContextManager[Cell]], docker_client: APIClient, huge: str
) -> None:
    """Meanwhile the engine answers nothing about the container."""
    async with open_cell() as cell:
        cell.shelf.items["http://blobs/droplet"] = Path(huge)
        setup = DownloadAction(from_="http://blobs/droplet", to="/home/vcap", user="vcap")
        await cell.start("exec sleep 1000", setup=setup)
        await cell.log.until("successfully created container")
        [found] = docker_client.containers(filters={"name": f"{cell.name}-ig"})
        await until_it_grows(Path(f"/proc/{a_process_of(found['Id'])}/root/home/vcap/huge"))
        begun = now()
        await cell.executor.delete("ig")
        assert now() - begun < REMOVAL_S
        assert (await cell.until(EventKind.COMPLETE)).run_result == RunResult(stopped=True)
        assert await cell.engine.list_guids() == set()
