"""Adoption after a restart of the agent: containers, processes, their output and their exit status."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from docker import APIClient

from executor.engine import processstart
from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.engine.fifos import ProcessFifos
from tests.support.waiting import until

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
        container, ProcessSpec(path="/bin/sh", args=("-c", script)), lambda _: None, lambda _: None, "step-1"
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
        container,
        ProcessSpec(path="/bin/sh", args=("-c", script)),
        lambda _: up.set(),
        lambda _: None,
        "step-1",
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


async def test_an_end_that_is_not_recorded_yet_is_kept_until_its_release(
    engine: DockerEngine, later: DockerEngine, container: EngineContainer
) -> None:
    """The agent is killed after it has read the exit status, and before that is in its journal."""
    spec = ProcessSpec(path="/bin/sh", args=("-c", "exit 5"))
    process = await engine.start_process(container, spec, lambda _: None, lambda _: None, "step-1")
    assert await process.wait() == 5
    await engine.close()
    for _ in range(2):
        adopted = await later.adopt_process(container, "step-1", lambda _: None, lambda _: None)
        assert adopted is not None
        assert await adopted.wait() == 5
    await adopted.release()
    assert await later.adopt_process(container, "step-1", lambda _: None, lambda _: None) is None


async def test_a_process_killed_together_with_its_parent_has_the_status_of_a_killed_one(
    engine: DockerEngine, later: DockerEngine, container: EngineContainer
) -> None:
    spec = ProcessSpec(path="/bin/sleep", args=("1000",))
    process = await engine.start_process(container, spec, lambda _: None, lambda _: None, "step-1")
    parent = psutil.Process(process.pid).parent()
    await engine.close()
    parent.kill()
    adopted = await later.adopt_process(container, "step-1", lambda _: None, lambda _: None)
    assert adopted is not None
    assert await adopted.wait() == 137
    await until(lambda: not psutil.pid_exists(process.pid))


async def test_processes_without_a_record_are_swept(
    engine: DockerEngine, later: DockerEngine, container: EngineContainer
) -> None:
    """A probe under way has no record; a step has one."""
    spec = ProcessSpec(path="/bin/sleep", args=("1000",))
    step = await engine.start_process(container, spec, lambda _: None, lambda _: None, "step-1")
    probe = psutil.Process((await engine.start_process(container, spec, lambda _: None, lambda _: None)).pid)
    await engine.close()
    await later.sweep_processes(container, {"step-1"})
    await asyncio.to_thread(psutil.wait_procs, [probe], 10)
    assert not probe.is_running()
    adopted = await later.adopt_process(container, "step-1", lambda _: None, lambda _: None)
    assert adopted is not None
    assert adopted.pid == step.pid
    await adopted.signal(signal.SIGKILL)
    assert await adopted.wait() == 137


async def test_what_never_started_is_nothing_to_adopt(
    later: DockerEngine, container: EngineContainer
) -> None:
    assert await later.find("g2") is None
    assert await later.adopt_process(container, "step-1", lambda _: None, lambda _: None) is None


async def test_a_start_that_was_killed_before_its_go_leaves_no_process(
    engine: DockerEngine,
    later: DockerEngine,
    container: EngineContainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pids are stored, and the child waits for the go: it never executes its program."""
    stopped = asyncio.Event()
    waiting: list[psutil.Process] = []

    def no_go(fifos: ProcessFifos) -> None:
        waiting.append(psutil.Process(fifos.read_pids().child))
        fifos.close_descriptors()  # as the kernel does after a kill
        stopped.set()
        raise asyncio.CancelledError

    monkeypatch.setattr(ProcessFifos, "let_go", no_go)
    monkeypatch.setattr(processstart, "_discard", lambda _: None)
    spec = ProcessSpec(path="/bin/touch", args=("/tmp/started",))
    with pytest.raises(asyncio.CancelledError):
        await engine.start_process(container, spec, lambda _: None, lambda _: None, "step-1")
    await engine.close()
    monkeypatch.undo()
    assert await later.adopt_process(container, "step-1", lambda _: None, lambda _: None) is None
    await asyncio.to_thread(psutil.wait_procs, waiting, 10)
    assert not waiting[0].is_running()
    again = await later.start_process(
        container, ProcessSpec(path="/bin/ls", args=("/tmp",)), lambda _: None, lambda _: None
    )
    assert await again.wait() == 0


async def test_the_parent_of_an_adopted_process_ends_with_it(
    engine: DockerEngine, later: DockerEngine, container: EngineContainer
) -> None:
    """Also when the process had ended before: the parent repeats its status and is acknowledged, not left."""
    spec = ProcessSpec(path="/bin/sleep", args=("1000",))
    for number in range(5):
        name = f"step-{number}"
        process = await engine.start_process(container, spec, lambda _: None, lambda _: None, name)
        parent = psutil.Process(process.pid).parent()
        process.detach()
        os.kill(process.pid, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(process.pid))  # noqa: B023
        adopted = await later.adopt_process(container, name, lambda _: None, lambda _: None)
        assert adopted is not None
        assert await adopted.wait() == 137
        await asyncio.to_thread(psutil.wait_procs, [parent], 10)
        assert not parent.is_running()
    await engine.close()


async def test_files_of_containers_that_never_were_are_swept(
    later: DockerEngine, container: EngineContainer
) -> None:
    """A kill between the io directory of a container and the container leaves the directory."""
    io = later._config.state_dir / "io"
    (io / "never").mkdir()
    await later.sweep({"g1"})
    assert [directory.name for directory in io.iterdir()] == ["g1"]
