"""An agent that comes back finds its containers and processes, what they wrote and how they ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from docker import APIClient

from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.errors import ContainerGone

pytestmark = pytest.mark.docker


@pytest.fixture
def config(docker_client: APIClient, unique: str, tmp_path: Path) -> EngineConfig:
    return EngineConfig(state_dir=tmp_path, owner=unique, cell_id=unique, name_prefix=f"{unique}-")


@pytest.fixture
async def engine(config: EngineConfig) -> DockerEngine:
    """The engine room of the first life; each test ends it."""
    return DockerEngine(config)


@pytest.fixture
async def later(config: EngineConfig) -> AsyncIterator[DockerEngine]:
    """The same cell's engine room in its next life."""
    room = DockerEngine(config)
    yield room
    for guid in await room.list_guids():
        await room.destroy(guid)
    await room.close()


@pytest.fixture
async def container(later: DockerEngine, engine: DockerEngine, rootfs_image: str) -> EngineContainer:
    return await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))


async def test_a_process_goes_on_and_its_output_waits(
    engine: DockerEngine, later: DockerEngine, container: EngineContainer
) -> None:
    script = "read go </tmp/go; seq 100000; exit 4"
    await (
        await engine.start_process(
            container, ProcessSpec(path="/bin/mkfifo", args=("/tmp/go",)), lambda _: None, lambda _: None
        )
    ).wait()
    process = await engine.start_process(
        container, ProcessSpec(path="/bin/sh", args=("-c", script)), lambda _: None, lambda _: None
    )
    await engine.close()
    starter = await later.start_process(
        container, ProcessSpec(path="/bin/sh", args=("-c", "echo >/tmp/go")), lambda _: None, lambda _: None
    )
    await starter.wait()

    found = await later.find("g1")
    assert found == container
    out = bytearray()
    adopted = await later.adopt_process(found, process.name, out.extend, out.extend)
    assert adopted.pid == process.pid
    async with asyncio.timeout(20):
        assert await adopted.wait() == 4
    assert bytes(out) == b"".join(b"%d\n" % number for number in range(1, 100_001))


async def test_an_exit_and_last_words_in_between_are_kept(
    engine: DockerEngine, later: DockerEngine, container: EngineContainer
) -> None:
    up = asyncio.Event()
    script = "trap 'echo last words; exit 7' TERM; echo up; while :; do sleep 0.1; done"
    process = await engine.start_process(
        container, ProcessSpec(path="/bin/sh", args=("-c", script)), lambda _: up.set(), lambda _: None
    )
    await up.wait()
    await engine.close()
    os.kill(process.pid, signal.SIGTERM)
    await asyncio.to_thread(psutil.Process(process.pid).wait)

    out = bytearray()
    adopted = await later.adopt_process(container, process.name, out.extend, out.extend)
    async with asyncio.timeout(20):
        assert await adopted.wait() == 7
    assert bytes(out) == b"last words\n"
    await adopted.signal(signal.SIGTERM)


async def test_what_is_lost_is_said(
    engine: DockerEngine, later: DockerEngine, container: EngineContainer
) -> None:
    process = await engine.start_process(
        container, ProcessSpec(path="/bin/true"), lambda _: None, lambda _: None
    )
    await process.wait()
    await engine.close()
    assert await later.find("g2") is None
    with pytest.raises(ContainerGone, match="is lost"):
        await later.adopt_process(container, process.name, lambda _: None, lambda _: None)
