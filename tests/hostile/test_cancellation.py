"""Cancellation of work at each of its waits, once and twice: no resource leaks."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from docker import APIClient

from executor.cache.downloader import Downloader
from executor.cache.http import Fetcher
from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine
from executor.network.cell import CellNetwork
from tests.support.cancellation import (
    ONCE_AND_TWICE,
    Cancel,
    Census,
    assert_as_before,
    cancelled_everywhere,
    warm_up,
)
from tests.support.cell import network_config

pytestmark = pytest.mark.timeout(300)

once_and_twice = pytest.mark.parametrize("how", ONCE_AND_TWICE, ids=str)


def ignore(_: bytes) -> None:
    """Output."""


@pytest.fixture
async def container(engine: DockerEngine, rootfs_image: str) -> EngineContainer:
    return await engine.create(ContainerSpec(guid="ig", root_fs=rootfs_image))


def processes_in(client: APIClient, container: EngineContainer) -> list[str]:
    """Command lines of all but the init."""
    found = client.top(container.id, ps_args="-o pid,args")["Processes"]
    return [line[-1] for line in found if int(line[0]) != container.init_pid]


async def until_alone(client: APIClient, container: EngineContainer) -> None:
    async with asyncio.timeout(20):
        while True:
            if not processes_in(client, container):
                return
            await asyncio.sleep(0.05)


@pytest.mark.docker
@once_and_twice
async def test_the_start_of_a_process(
    engine: DockerEngine, container: EngineContainer, docker_client: APIClient, tmp_path: Path, how: Cancel
) -> None:
    """A second cancel during a start left a child that waits, its parent, a pidfd and four FIFOs."""
    spec = ProcessSpec(path="/bin/sleep", args=("1000",))

    async def start() -> None:
        process = await engine.start_process(container, spec, ignore, ignore)
        await process.signal(9)
        await process.wait()

    await start()
    await warm_up(engine)
    before = Census.take()
    outcomes = []
    async for outcome in cancelled_everywhere(start, how):
        outcomes.append(outcome)
        for process in engine._processes._processes.get("ig", ()):  # it was started, and then not waited for
            await process.signal(9)
            await process.wait()
        await assert_as_before(before, outcome)
        assert list((tmp_path / "io" / "ig").iterdir()) == []
    assert len([outcome for outcome in outcomes if outcome.cancelled]) >= 2
    await until_alone(docker_client, container)
    await start()


@pytest.mark.docker
@once_and_twice
async def test_the_making_of_a_container(
    engine: DockerEngine, rootfs_image: str, tmp_path: Path, how: Cancel
) -> None:

    async def create() -> None:
        await engine.create(ContainerSpec(guid="ig", root_fs=rootfs_image))
        await engine.destroy("ig")

    await create()
    await warm_up(engine)
    before = Census.take()
    outcomes = []
    async for outcome in cancelled_everywhere(create, how):
        outcomes.append(outcome)
        if outcome.cancelled and "ig" in engine._handles._handles:
            await engine.destroy("ig")  # it was the removal that was cancelled
        await assert_as_before(before, outcome)
        assert await engine.list_guids() == set(), outcome
        assert not (tmp_path / "io" / "ig").exists(), outcome
    assert len([outcome for outcome in outcomes if outcome.cancelled]) >= 2


@pytest.mark.docker
@once_and_twice
async def test_copies_into_and_out_of_a_container(
    engine: DockerEngine, container: EngineContainer, tmp_path: Path, how: Cancel
) -> None:
    tar = tmp_path / "some.tar"
    tar.write_bytes(tar_of(b"x" * 100_000))

    async def copy() -> None:
        await engine.stream_in(container, "/tmp", "vcap", str(tar))
        with (tmp_path / "copy").open("wb") as target:
            await engine.copy_out(container, "/tmp/a", "vcap", target, 1 << 20)

    await copy()
    await warm_up(engine)
    before = Census.take()
    outcomes = []
    async for outcome in cancelled_everywhere(copy, how):
        outcomes.append(outcome)
        await assert_as_before(before, outcome)
        assert not engine._copies._running, outcome
    assert len([outcome for outcome in outcomes if outcome.cancelled]) >= 2
    await copy()


@pytest.mark.docker
@once_and_twice
async def test_a_container_s_way_into_the_network_and_out_of_it(
    engine: DockerEngine, rootfs_image: str, unique: str, how: Cancel, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled attachment left a member, which made the next one write the whole table anew."""
    network = CellNetwork(network_config(unique))
    await network.start()
    try:
        address = network.address("ig")
        container = await engine.create(ContainerSpec(guid="ig", root_fs=rootfs_image, address=address))

        async def attach_and_detach() -> None:
            (port,) = network.reserve("ig", 1)
            await network.attach(container, {port: 8080})
            await network.detach("ig")

        await attach_and_detach()
        await warm_up(engine)
        before = Census.take()
        free = len(network._host_ports._free)
        outcomes = []
        async for outcome in cancelled_everywhere(attach_and_detach, how):
            outcomes.append(outcome)
            await network.detach("ig")
            await assert_as_before(before, outcome)
            assert network._table.members == {}, outcome
            assert len(network._host_ports._free) == free, outcome
            assert network._links.port_names() == set(), outcome
            assert await network._table.differences() == [], outcome
        assert len([outcome for outcome in outcomes if outcome.cancelled]) >= 2
        assert "rebuilding-packet-table" not in caplog.messages
        await attach_and_detach()
        await engine.destroy("ig")
    finally:
        await network.stop()


def tar_of(content: bytes, mode: Literal["w", "w:gz"] = "w") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        info = tarfile.TarInfo("a")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """Serves an archive with an ETag, which a second request finds unchanged."""

    async def serve(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return web.Response(body=tar_of(b"x" * 300_000, "w:gz"), headers={"ETag": '"1"'})

    app = web.Application()
    app.router.add_get("/asset", serve)
    async with TestServer(app) as server:
        yield str(server.make_url("/asset"))


@pytest.mark.unit
@pytest.mark.parametrize("kind", ["file", "directory", "uncached"])
@once_and_twice
async def test_downloads(site: str, tmp_path: Path, kind: str, how: Cancel) -> None:
    """A cancel while a download tidies up left a pin, which kept the version in the cache for ever."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        Downloader(Fetcher(session), tmp_path / "cache", 1 << 30) as cache,
    ):
        keys = iter(range(10_000))

        async def fetch(key: str) -> None:
            if kind == "uncached":
                (await cache.fetch_file(site, "")).release()
            elif kind == "file":
                (await cache.fetch_file(site, key)).release()
            else:
                (await cache.fetch_directory(site, key)).release()

        async def twice() -> None:
            key = f"key-{next(keys)}"
            await fetch(key)
            await fetch(key)

        await twice()
        before = Census.take()
        outcomes = []
        async for outcome in cancelled_everywhere(twice, how):
            outcomes.append(outcome)
            await assert_as_before(before, outcome)
            assert pinned(cache) == [], outcome
            assert cache._barriers == {}, outcome
        assert len([outcome for outcome in outcomes if outcome.cancelled]) > 10
        await twice()
    temporary = [path for path in (tmp_path / "cache").rglob("*") if path.parent.name == "temp"]
    assert temporary == []


def pinned(cache: Downloader) -> list[Any]:
    return [version for version in cache._store._entries.values() if version.used]
