"""Volumes, service files and layers, seen by a process in a container."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from bbs.models.common import File
from bbs.models.workload import CachedDependency
from executor.cache.api import Checksum
from executor.model import EventKind, RunResult, VolumeMount

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]


class DirectoryDriver:
    """A volume driver whose volumes are directories below one of the test's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounted: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        name = body.get("Name", "")
        match request.path:
            case "/Plugin.Activate":
                return web.json_response({"Implements": ["VolumeDriver"]})
            case "/VolumeDriver.Create":
                (self.root / name).mkdir(exist_ok=True)
                (self.root / name).chmod(0o777)
            case "/VolumeDriver.Mount":
                if name == "forbidden":
                    return web.json_response({"Err": json.dumps({"SafeDescription": "no such share"})})
                self.mounted.append(name)
                return web.json_response({"Mountpoint": str(self.root / name), "Err": ""})
            case "/VolumeDriver.Unmount":
                self.mounted.remove(name)
        return web.json_response({"Err": ""})


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[DirectoryDriver]:
    """Announced in ``tmp_path/drivers`` as ``shares``."""
    made = DirectoryDriver(tmp_path / "volumes")
    made.root.mkdir()
    app = web.Application()
    app.router.add_post("/{call}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    (tmp_path / "drivers").mkdir()
    await web.UnixSite(runner, str(tmp_path / "drivers" / "shares.sock")).start()
    yield made
    await runner.cleanup()


def volume(**changes: Any) -> VolumeMount:
    values: dict[str, Any] = {
        "driver": "shares",
        "volume_id": "data",
        "container_dir": "/data",
        "read_only": False,
    }
    return VolumeMount(**{**values, **changes})


async def test_a_volume_outlives_its_instances(
    open_cell: OpenCell, driver: DirectoryDriver, tmp_path: Path
) -> None:
    async with open_cell(volman_driver_paths=(str(tmp_path / "drivers"),)) as cell:
        assert cell.executor.volume_drivers() == ["shares"]
        await cell.output("echo kept > /data/note", volume_mounts=(volume(),))
        assert driver.mounted == []
        script = "cat /data/note; touch /data/x 2>/dev/null || echo read-only"
        assert await cell.output(script, volume_mounts=(volume(read_only=True),)) == ["kept", "read-only"]
        assert driver.mounted == []


async def test_what_a_driver_marks_as_safe_is_the_reason(
    open_cell: OpenCell, driver: DirectoryDriver, tmp_path: Path
) -> None:
    async with open_cell(volman_driver_paths=(str(tmp_path / "drivers"),)) as cell:
        await cell.start("true", volume_mounts=(volume(), volume(volume_id="forbidden")))
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(
            failed=True, retryable=True, failure_reason="failed to mount volume, errors: no such share"
        )
        assert driver.mounted == ["data"]
        await cell.executor.delete("ig")
        assert driver.mounted == []


async def test_a_directory_the_operator_allows(open_cell: OpenCell, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "hello").write_text("from the host\n")
    async with open_cell(volume_bind_paths=(str(shared),)) as cell:
        mount = volume(driver="bind", config={"source": str(shared)})
        assert await cell.output("cat /data/hello", volume_mounts=(mount,)) == ["from the host"]
        await cell.start("true", volume_mounts=(volume(driver="bind", config={"source": "/etc"}),))
        reason = (await cell.until(EventKind.COMPLETE)).run_result.failure_reason
        assert reason.startswith("failed to mount volume, errors: ")
        assert "not among the host paths" in reason


async def test_cached_dependencies_are_read_only(open_cell: OpenCell, tmp_path: Path) -> None:
    dependency = tmp_path / "dependency"
    dependency.mkdir()
    (dependency / "tool").write_text("from the cache\n")
    async with open_cell() as cell:
        cell.shelf.items["http://blobs/tools.tgz"] = dependency
        told = await cell.output(
            "cd /opt/tools; cat tool; touch x 2>/dev/null || echo read-only; "
            "rm tool 2>/dev/null || echo kept",
            user="root",
            cached_dependencies=(
                CachedDependency(from_="http://blobs/tools.tgz", to="/opt/tools", cache_key="tools"),
            ),
        )
        assert told == ["from the cache", "read-only", "kept"]
        assert [*dependency.iterdir()] == [dependency / "tool"]


async def test_service_files_are_read_only_and_go_with_the_instance(
    open_cell: OpenCell, tmp_path: Path
) -> None:
    async with open_cell(volume_mounted_files=str(tmp_path / "services")) as cell:
        told = await cell.output(
            "cd /etc/cf-service-bindings/db; cat password; touch x 2>/dev/null || echo read-only",
            volume_mounted_files=(File(path="db/password", content="s3cret\n"),),
        )
        assert told == ["s3cret", "read-only"]
        assert [*(tmp_path / "services").glob("*/*")] == []


async def test_a_layer_is_there_before_the_first_process(
    open_cell: OpenCell, rootfs_archive: Path, tmp_path: Path
) -> None:
    source = tmp_path / "app.txt"
    source.write_text("from the layer\n")

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid = 2000, 50
        return member

    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as archive:
        archive.add(source, "app/app.txt", filter=owned)
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    async with open_cell() as cell:
        cell.shelf.items["http://blobs/droplet.tgz"] = layer
        query = f"layer=http%3A%2F%2Fblobs%2Fdroplet.tgz&layer_path=%2Fhome%2Fvcap&layer_digest={digest}"
        told = await cell.output(
            "ls -ln app/app.txt; cat app/app.txt", root_fs=f"preloaded+layer:{rootfs_archive}?{query}"
        )
        assert told[0].split()[2:4] == ["2000", "50"]
        assert told[1] == "from the layer"
        checksum = Checksum(algorithm="sha256", value=digest)
        assert cell.shelf.asked == [("http://blobs/droplet.tgz", f"sha256:{digest}", checksum)]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("layer=x&layer_path=/", "no query parameter 'layer_digest' found in URL "),
        ("layer=http%3A%2F%2Fgone&layer_path=%2F&layer_digest=00", "http://gone: no such thing"),
    ],
)
async def test_a_layer_that_cannot_be_had(
    open_cell: OpenCell, rootfs_archive: Path, query: str, reason: str
) -> None:
    async with open_cell() as cell:
        await cell.start("true", root_fs=f"preloaded+layer:{rootfs_archive}?{query}")
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failure_reason.startswith(f"failed to create container: {reason}")
        assert await cell.engine.list_guids() == set()
