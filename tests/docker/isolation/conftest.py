"""A cell to put work on, on the machine's engine or on one of the test's own."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker import APIClient

from bbs.models.actions import RunAction
from cell.images import build_rootfs_tar
from executor.assembly import assemble
from executor.cache.api import NO_CHECKSUM, Checksum, DownloadError, Fetched, Progress
from executor.config import ExecutorConfig
from executor.engine.docker import DockerEngine, EngineConfig
from executor.executor import Executor
from executor.identity.authority import private_pem, utc_now
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

PATIENCE_S = 30.0
ENGINE_PATIENCE_S = 20.0


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
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [line for line in self.texts if text in line]):
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

    async def upload(self, path: Path, url: str, *, progress: Progress | None = None) -> int:
        raise AssertionError(f"upload of {path} to {url}")


@dataclass
class Cell:
    """A running executor, and how to put work on it."""

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


def network_config(name: str) -> NetworkConfig:
    second, third = 64 + int(name[1:3], 16) % 64, int(name[3:5], 16)
    return NetworkConfig(name=name, table=name, subnet=f"10.{second}.{third}.0/24", external_ip="127.0.0.1")


@pytest.fixture(scope="session")
def rootfs_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny root file system as an archive."""
    archive = tmp_path_factory.mktemp("rootfs") / "rootfs.tar"
    build_rootfs_tar(archive)
    return archive


@pytest.fixture
def open_cell(docker_client: APIClient, rootfs_image: str, unique: str, tmp_path: Path) -> OpenCell:
    """Opens a cell: ``async with open_cell(setting=...)``; elsewhere with ``docker_host``, ``rootfs``."""

    @asynccontextmanager
    async def opened(
        *, docker_host: str | None = None, rootfs: str = rootfs_image, **settings: Any
    ) -> AsyncIterator[Cell]:
        config = ExecutorConfig(
            cell_id=unique, memory_mb=2048, disk_mb=2048, temp_dir=str(tmp_path / "tmp"), **settings
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
                    yield Cell(executor, engines[0], log, shelf, rootfs, events)
                for container in executor.containers():
                    await executor.delete(container.guid)
        finally:
            for engine in engines:
                for guid in await engine.list_guids():
                    await engine.destroy(guid)
                await engine.close()
            await network.stop()

    return opened


@pytest.fixture
def identity(tmp_path: Path) -> dict[str, Any]:
    """Settings of a cell with an authority of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "instanceIdentityCA")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(utc_now())
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "ca.key").write_bytes(private_pem(key))
    return {
        "instance_identity_cred_dir": str(tmp_path / "creds"),
        "instance_identity_ca_path": str(tmp_path / "ca.crt"),
        "instance_identity_private_key_path": str(tmp_path / "ca.key"),
        "instance_identity_key_type": "ecdsa",
    }


StartEngine = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def start_engine(docker_client: APIClient, unique: str) -> StartEngine:
    """Starts a dockerd of the test's own: ``with start_engine("--option", before="...") as docker_host``.

    It lives in a mount namespace of its own, with its own containerd, so that all it mounts goes with it.
    ``before`` is a shell command in that namespace; ``$DIR`` is the directory of the engine.
    """

    @contextmanager
    def started(*options: str, before: str = "true") -> Iterator[str]:
        folder = Path("/tmp", f"cell-{unique}")  # short: it is part of the paths of sockets
        folder.mkdir(mode=0o711)
        command = [
            *("dockerd", "--data-root", f"{folder}/root", "--exec-root", f"{folder}/exec"),
            *("--pidfile", f"{folder}/pid", "--host", f"unix://{folder}/sock"),
            *("--bridge=none", "--iptables=false", "--ip-masq=false", *options),
        ]
        script = f'set -e; mount -t tmpfs none /run/containerd; {before}; exec "$@"'
        # A network namespace of its own: an engine told to have no bridge removes the docker0 it finds.
        wrapper = [
            *("unshare", "--net", "--mount", "--propagation", "slave"),
            *("sh", "-c", script, "sh", *command),
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                wrapper, stdout=log, stderr=log, start_new_session=True, env={"DIR": str(folder), **_PATH}
            )
        try:
            _await_engine(folder / "sock", process, folder / "log")
            yield f"unix://{folder}/sock"
        finally:
            process.terminate()
            try:
                process.wait(ENGINE_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            shutil.rmtree(folder)

    return started


_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def _await_engine(path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + ENGINE_PATIENCE_S
    while not _answers(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the engine did not come up: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in probe.recv(100)
        except OSError:
            return False
