"""Fixtures for tests on a real engine: image, engine, and a cell that leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest
from docker import APIClient
from docker.errors import DockerException

from bbs.models.actions import RunAction
from cell.development.images import ensure_image
from executor.assembly import assemble
from executor.cache.api import NO_CHECKSUM, Checksum, DownloadError, Fetched, Progress
from executor.config import ExecutorConfig
from executor.engine.docker import DockerEngine, EngineConfig
from executor.executor import Executor
from executor.journal.api import Journal
from executor.logs.api import LogLine
from executor.model import (
    AllocationRequest,
    Container,
    ContainerEvent,
    EventKind,
    LogConfig,
    RunInfo,
    RunRequest,
)
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig
from tests.support.waiting import PATIENCE_S

IMAGE = "diego-cell/test-rootfs:1"


class AppLog:
    """The log of all apps, to wait on."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self._changed = asyncio.Event()

    @property
    def texts(self) -> list[str]:
        return [line.payload.decode() for line in self.lines]

    def emit(self, line: LogLine) -> None:
        self.lines.append(line)
        self._changed.set()

    async def until(self, text: str) -> str:
        """The first line that contains ``text``."""
        return await self._first(lambda line: text in line)

    async def until_line(self, text: str) -> str:
        """The line ``text``."""
        return await self._first(lambda line: text == line)

    async def _first(self, fits: Callable[[str], bool]) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [line for line in self.texts if fits(line)]):
                self._changed.clear()
                await self._changed.wait()
        return found[0]


class Shelf:
    """A download cache with what the test put there, by URL."""

    def __init__(self) -> None:
        self.items: dict[str, Path] = {}
        self.asked: list[tuple[str, str, Checksum]] = []

    async def fetch_file(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        self.asked.append((url, cache_key, checksum))
        if url not in self.items:
            raise DownloadError(f"{url}: no such thing")
        return Fetched(self.items[url], 1, lambda: None)

    async def fetch_directory(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        return await self.fetch_file(url, cache_key, checksum)

    def hold(self, path: Path) -> Callable[[], None] | None:
        return None

    async def sweep(self) -> None:
        return

    async def upload(self, path: Path, url: str, *, progress: Progress | None = None) -> int:
        raise AssertionError(f"upload of {path} to {url}")


@dataclass
class Cell:
    """A running executor, and how to put work on it."""

    name: str
    executor: Executor
    engine: DockerEngine
    log: AppLog
    shelf: Shelf
    rootfs: str
    events: AsyncIterator[ContainerEvent]

    async def start(
        self, script: str, *, guid: str = "ig", user: str = "vcap", allocation: Any = None, **run_info: Any
    ) -> None:
        """Reserve and run ``script``. allocation: changes of the reservation; run_info: of the request."""
        request = AllocationRequest(guid=guid, memory_mb=64)
        assert self.executor.allocate([replace(request, **(allocation or {}))]) == []
        info = RunInfo(
            root_fs=self.rootfs,
            cpu_weight=100,
            action=RunAction(path="/bin/sh", args=("-c", script), user=user),
            log_config=LogConfig(guid="log-guid", source_name="APP"),
        )
        await self.executor.run(RunRequest(guid=guid, run_info=replace(info, **run_info)))

    async def until(self, kind: EventKind) -> Container:
        """The container of the next event of a kind."""
        async with asyncio.timeout(PATIENCE_S):
            async for event in self.events:
                if event.kind is kind:
                    return event.container
        raise AssertionError(f"the executor ended before {kind}")

    async def until_true(self, holds: Callable[[], bool]) -> None:
        """Look every few ms, for what has no event of its own."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.01)

    async def output(self, script: str, **start: Any) -> list[str]:
        """What a script that succeeds writes; its container is gone afterwards."""
        seen = len(self.log.lines)
        await self.start(script, **start)
        complete = await self.until(EventKind.COMPLETE)
        assert not complete.run_result.failed, complete.run_result
        await self.executor.delete(complete.guid)
        lines = self.log.lines[seen:]
        return [
            line.payload.decode()
            for line in lines
            if not line.payload.startswith((b"Cell ", b"Exit status "))
        ]


OpenCell = Callable[..., AbstractAsyncContextManager[Cell]]


HOST_PORTS = 64
"""Host ports of a test's cell."""


def host_port_start(name: str) -> int:
    """First of the host ports of the cell ``name``: of no cell of a test that runs at the same time."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw3").removeprefix("gw")) % 4
    return 20000 + worker * 3000 + int(name[1:], 16) % (3000 // HOST_PORTS) * HOST_PORTS


def network_config(name: str) -> NetworkConfig:
    """name: see ``unique``."""
    second, third = 64 + int(name[1:3], 16) % 64, int(name[3:5], 16)
    return NetworkConfig(
        name=name,
        table=name,
        subnet=f"10.{second}.{third}.0/24",
        external_ip="127.0.0.1",
        port_start=host_port_start(name),
        port_count=HOST_PORTS,
    )


@pytest.fixture(scope="session")
def docker_client() -> Iterator[APIClient]:
    """A client of the engine, which has to answer: `make docker-tests` starts one."""
    try:
        client = docker.APIClient(version="auto")
    except DockerException as error:
        pytest.fail(f"no container engine: {error}; start one with scripts/setup, or run `make unit`")
    yield client
    client.close()


@pytest.fixture(scope="session")
def rootfs_image(docker_client: APIClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a local image with busybox, root and vcap (uid 2000, home /home/vcap)."""
    return ensure_image(docker_client, IMAGE, tmp_path_factory.mktemp("image"))


@pytest.fixture
def unique() -> str:
    """A short name that is unique at the same time."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
async def engine(docker_client: APIClient, unique: str, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    """An engine room on the engine's own bridge; its containers go with it."""
    room = DockerEngine(
        EngineConfig(state_dir=tmp_path, owner=unique, cell_id=unique, name_prefix=f"{unique}-")
    )
    try:
        yield room
    finally:
        for guid in await room.list_guids():
            await room.destroy(guid)
        await room.close()


@pytest.fixture
def open_cell(docker_client: APIClient, rootfs_image: str, unique: str, tmp_path: Path) -> OpenCell:
    """Opens a cell: ``async with open_cell(setting=...)``; elsewhere with ``docker_host``, ``rootfs``.

    It goes with all its containers, unless it is to ``leave`` them to a later life. A later life with the
    same ``journal`` adopts them, another one removes them.
    """

    @asynccontextmanager
    async def opened(
        *,
        docker_host: str | None = None,
        rootfs: str = rootfs_image,
        leave: bool = False,
        journal: Journal | None = None,
        **settings: Any,
    ) -> AsyncIterator[Cell]:
        config = ExecutorConfig(
            cell_id=unique,
            memory_mb=2048,
            disk_mb=2048,
            temp_dir=str(tmp_path / "tmp"),
            orphan_grace_s=0,
            **settings,
        )
        engines = [
            DockerEngine(
                EngineConfig(
                    state_dir=tmp_path / owner,
                    owner=owner,
                    cell_id=unique,
                    docker_host=docker_host,
                    name_prefix=f"{owner}-",
                )
            )
            for owner in (unique, f"{unique}h")
        ]
        log, shelf, network = AppLog(), Shelf(), CellNetwork(network_config(unique))
        executor = assemble(
            config,
            journal=journal,
            engine=engines[0],
            probe_engine=engines[1],
            network=network,
            sink=log,
            fetcher=shelf,
            uploader=shelf,
        )
        try:
            async with executor:
                with executor.subscribe() as events:
                    yield Cell(unique, executor, engines[0], log, shelf, rootfs, events)
                for container in () if leave else executor.containers():
                    await executor.delete(container.guid)
        finally:
            for engine in engines:
                for guid in () if leave else await engine.list_guids():
                    await engine.destroy(guid)
                await engine.close()
            if not leave:
                await network.stop()

    return opened
