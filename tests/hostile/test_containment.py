"""Failures about one container, or of the engine: other containers and the host's files are not affected."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from executor.engine.api import ContainerSpec, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.errors import ContainerGone, EngineError
from executor.model import ContainerState, EventKind
from tests.support.cell import OpenCell

Answer = Callable[[web.Request], web.Response]


class EngineStub:
    """An engine's removal of containers, on a socket, as the test scripts it."""

    def __init__(self) -> None:
        self.removal: Answer = lambda _: web.Response(status=204)
        self.waiting: Answer = lambda _: web.json_response({"StatusCode": 0})
        self.asked: list[str] = []

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "Version": "stub"})

    async def remove(self, request: web.Request) -> web.Response:
        self.asked.append(f"remove {request.match_info['name']}")
        return self.removal(request)

    async def wait(self, request: web.Request) -> web.Response:
        self.asked.append(f"wait {request.match_info['name']} {request.query.get('condition')}")
        return self.waiting(request)


def refused(status: int, text: str) -> Answer:
    return lambda _: web.json_response({"message": text}, status=status)


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[EngineStub]:
    made = EngineStub()
    app = web.Application()
    app.router.add_get("/version", made.version)
    app.router.add_delete("/v1.41/containers/{name}", made.remove)
    app.router.add_post("/v1.41/containers/{name}/wait", made.wait)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    try:
        yield made
    finally:
        await runner.cleanup()


@pytest.fixture
async def room(stub: EngineStub, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    made = DockerEngine(
        EngineConfig(
            state_dir=tmp_path / "state",
            owner="o",
            cell_id="c",
            docker_host=f"unix://{tmp_path}/engine.sock",
        )
    )
    try:
        yield made
    finally:
        await made.close()


def io_directory(tmp_path: Path, guid: str) -> Path:
    directory = tmp_path / "state" / "io" / guid
    directory.mkdir(parents=True)
    return directory


@pytest.mark.unit
async def test_an_engine_that_refuses_a_removal_keeps_what_the_container_has_on_the_host(
    stub: EngineStub, room: DockerEngine, tmp_path: Path
) -> None:
    """A removal the engine refused leaves the io directory, which the running container's processes use."""
    kept = io_directory(tmp_path, "g1")
    stub.removal = refused(500, "device busy")
    with pytest.raises(EngineError, match="device busy"):
        await room.destroy("g1")
    assert kept.is_dir()
    stub.removal = refused(404, "No such container: cf-g1")
    await room.destroy("g1")
    assert not kept.exists()


@pytest.mark.unit
@pytest.mark.parametrize(
    "waiting",
    [lambda _: web.json_response({"StatusCode": 137}), refused(404, "No such container: cf-g1")],
    ids=["removed meanwhile", "gone already"],
)
async def test_a_removal_that_is_in_progress_is_waited_for(
    stub: EngineStub, room: DockerEngine, tmp_path: Path, waiting: Answer
) -> None:
    """The answer "already in progress" is not a removal: the container may run for a long time yet."""
    kept = io_directory(tmp_path, "g1")
    stub.removal = refused(409, "removal of container cf-g1 is already in progress")
    stub.waiting = waiting
    await room.destroy("g1")
    assert stub.asked == ["remove cf-g1", "wait cf-g1 removed"]
    assert not kept.exists()


@pytest.mark.unit
async def test_a_removal_in_progress_that_fails_is_an_error(
    stub: EngineStub, room: DockerEngine, tmp_path: Path
) -> None:
    kept = io_directory(tmp_path, "g1")
    stub.removal = refused(409, "removal of container cf-g1 is already in progress")
    stub.waiting = refused(500, "driver failed to remove root filesystem")
    with pytest.raises(EngineError, match="driver failed"):
        await room.destroy("g1")
    assert kept.is_dir()


@pytest.mark.unit
@pytest.mark.parametrize("guid", ["{outside}", "../{name}", "..", ".", "", "a/../../{name}", "a\0b"])
async def test_destroying_a_guid_that_is_a_path_removes_nothing(
    stub: EngineStub, room: DockerEngine, tmp_path: Path, guid: str
) -> None:
    """A guid like "/etc" is refused before any call to the engine and any removal of files."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    io_directory(tmp_path, "g1")
    with pytest.raises(EngineError, match="is not a guid"):
        await room.destroy(guid.format(outside=outside, name="outside"))
    assert stub.asked == []
    assert (outside / "file").exists()
    assert (tmp_path / "state" / "io" / "g1").is_dir()


DEEP = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d; i=$((i+1)); done; echo deep; exec sleep 1000"

NAMELESS = (
    "name=/tmp/busybox$(printf '\\377'); cp /bin/busybox $name; ulimit -n 8;"
    " exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null; exec $name sleep 1000"
)
"""A program whose name is no text, with a full table of open files."""

DIGITS = "head -c 5000 /dev/zero | tr '\\0' 7 >/tmp/n; cat /tmp/n >$(echo /.cell/io/*/status); exit 0"

HIDDEN = (
    "name=$(printf 'x%.0s' $(seq 200)); i=0;"
    " while [ $i -lt 30 ]; do mkdir $name && cd $name; i=$((i+1)); done;"
    " head -c 33554432 /dev/zero >file; exec sleep 1000"
)
"""A file of 32 MiB behind a path longer than the kernel takes at once."""


@pytest.mark.docker
async def test_hostile_containers_are_watched_to_their_end_and_their_neighbour_runs_on(
    open_cell: OpenCell,
) -> None:
    """1,500 nested directories, a process named \\xff, 5,000 digits as exit status, a hidden file."""
    async with open_cell(container_limits_interval_s=0.2, container_metrics_report_interval_s=0.2) as cell:
        await cell.start("while :; do echo alive; sleep 0.2; done", guid="neighbour")
        await cell.until(EventKind.RUNNING)
        await cell.start(DEEP, guid="deep", allocation={"disk_mb": 64})
        await cell.start(NAMELESS, guid="nameless", user="root")
        await cell.log.until_line("deep")
        await cell.log.until("Limit of 8 open files reached: process 'busybox\ufffd' can open no more")
        await cell.start(HIDDEN, guid="hidden", allocation={"disk_mb": 16})
        hidden = await cell.until(EventKind.COMPLETE)
        assert hidden.guid == "hidden"
        assert hidden.run_result.failure_reason.startswith("disk limit of 16M exceeded: ")
        await cell.start(DIGITS, guid="digits", user="root")
        digits = await cell.until(EventKind.COMPLETE)
        assert digits.guid == "digits"
        assert digits.run_result.failure_reason in (
            "APP: Exited with status 137",
            "its start was disturbed from inside the container",  # it was quicker than its start
        )
        await cell.until_true(lambda: {"neighbour", "deep", "nameless"} <= cell.executor.metrics().keys())
        seen = cell.log.texts.count("alive")
        await cell.until_true(lambda: cell.log.texts.count("alive") > seen)
        for guid in ("neighbour", "deep", "nameless"):
            assert cell.executor.container(guid).state is ContainerState.RUNNING


@pytest.mark.docker
async def test_a_start_without_descriptors_is_told_as_that_and_leaves_nothing(
    engine: DockerEngine, rootfs_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent out of descriptors does not call the container gone; the next start works."""
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    spec = ProcessSpec(path="/bin/sh", args=("-c", "echo started"))
    opened: list[int] = []

    def pidfd_open(pid: int, flags: int = 0) -> int:
        opened.append(pid)
        if len(opened) == 2:  # of the child; the first one is its parent's
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(pid, flags)

    def held() -> list[str]:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sorted(
            name for link in links if "pidfd" in (name := str(link.readlink())) or "/io/g1/" in name
        )

    before = held()
    real = os.pidfd_open
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(EngineError, match="start of a process: too many open files") as caught:
        await engine.start_process(container, spec, lambda _: None, lambda _: None)
    assert not isinstance(caught.value, ContainerGone)
    assert held() == before
    output = bytearray()
    process = await engine.start_process(container, spec, output.extend, output.extend)
    async with asyncio.timeout(20):
        assert (await process.wait(), bytes(output)) == (0, b"started\n")
