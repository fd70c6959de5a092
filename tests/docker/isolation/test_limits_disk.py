"""Disk and file limits, enforced by the engine's storage or by the watcher."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker import APIClient

from executor.model import EventKind

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]
StartEngine = Callable[..., AbstractContextManager[str]]
SOON = {"container_limits_interval_s": 0.1}
FILL = "dd if=/dev/zero of=/tmp/fill bs=1M count=64"

BTRFS = (
    'truncate -s 300M "$DIR/disk"; mkfs.btrfs -q "$DIR/disk"; mkdir "$DIR/root"; '
    'mount -o loop "$DIR/disk" "$DIR/root"'
)


def kept_by(caplog: pytest.LogCaptureFixture) -> set[str]:
    """What the agent said at start about who keeps disk limits."""
    told = [record for record in caplog.records if record.message == "disk-limits"]
    return {record.__dict__["data"]["kept-by"] for record in told}


async def test_a_disk_filler_is_ended_by_the_watcher(
    open_cell: OpenCell, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with open_cell(**SOON) as cell:
        await cell.start(f"{FILL}; exec sleep 1000", allocation={"disk_mb": 16})
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failure_reason.startswith("disk limit of 16M exceeded: ")
        assert await cell.log.until("Disk limit of 16M exceeded")
    assert kept_by(caplog) == {"watcher of the writable layer"}


async def test_a_disk_filler_within_its_limit_is_left_alone(open_cell: OpenCell) -> None:
    async with open_cell(container_metrics_report_interval_s=0.1, **SOON) as cell:
        await cell.start(f"{FILL}; echo full; exec sleep 1000", allocation={"disk_mb": 80})
        await cell.log.until("full")
        await cell.until_true(
            lambda: "ig" in cell.executor.metrics() and cell.executor.metrics()["ig"].disk_usage > 64 << 20
        )
        assert cell.executor.metrics()["ig"].disk_limit == 80 << 20
        assert not cell.executor.container("ig").run_result.failed


@pytest.fixture
def ballast(rootfs_archive: Path, tmp_path: Path) -> Path:
    """A root file system with 24 MiB of something in it."""
    path = tmp_path / "ballast.tar"
    shutil.copy(rootfs_archive, path)
    (tmp_path / "ballast").write_bytes(os.urandom(24 << 20))
    with tarfile.open(path, "a") as archive:
        archive.add(tmp_path / "ballast", "ballast")
    return path


OwnImage = Callable[[APIClient], AbstractContextManager[str]]


@pytest.fixture
def own_image(ballast: Path, unique: str) -> OwnImage:
    """Lets an engine have an image of a registry that cannot be reached."""

    @contextmanager
    def had(client: APIClient) -> Iterator[str]:
        name = f"127.0.0.1:9/{unique}"
        client.import_image_from_file(str(ballast), repository=name, tag="1")
        try:
            yield f"docker://{name}#1"
        finally:
            client.remove_image(f"{name}:1", force=True)

    return had


async def test_an_image_of_its_own_counts_where_the_cell_watches(
    open_cell: OpenCell, docker_client: APIClient, own_image: OwnImage
) -> None:
    settings = {"container_metrics_report_interval_s": 0.1, **SOON}
    with own_image(docker_client) as image:
        async with open_cell(rootfs=image, **settings) as cell:
            some = "dd if=/dev/zero of=/tmp/some bs=1M count=8; exec sleep 1000"
            await cell.start(some, allocation={"disk_mb": 40})
            metrics = cell.executor.metrics
            await cell.until_true(lambda: "ig" in metrics() and metrics()["ig"].disk_usage > 32 << 20)
            assert metrics()["ig"].disk_usage < metrics()["ig"].disk_limit == 40 << 20
            assert not cell.executor.container("ig").run_result.failed
            await cell.executor.delete("ig")
            await cell.until(EventKind.COMPLETE)

            await cell.start(f"{FILL}; exec sleep 1000", guid="big", allocation={"disk_mb": 40})
            reason = (await cell.until(EventKind.COMPLETE)).run_result.failure_reason
            told = r"disk limit of 40M exceeded: [\d.]+M in use, 2[4-9][\d.]*M by its image"
            assert re.fullmatch(told, reason)


async def test_an_image_that_is_bigger_than_the_limit_is_refused(
    open_cell: OpenCell, docker_client: APIClient, own_image: OwnImage
) -> None:
    with own_image(docker_client) as image:
        async with open_cell(rootfs=image) as cell:
            await cell.start("true", allocation={"disk_mb": 16})
            reason = (await cell.until(EventKind.COMPLETE)).run_result.failure_reason
            assert reason.startswith("failed to create container: image 127.0.0.1:9/")
            assert reason.endswith("do not fit in the disk limit of 16M")


@pytest.fixture
def xfs(unique: str) -> Iterator[Path]:
    """A file system that an engine could keep quotas on, had it been mounted with them."""
    folder = Path("/tmp", f"xfs-{unique}")
    (folder / "root").mkdir(parents=True)
    with (folder / "disk").open("wb") as disk:
        disk.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", folder / "disk"], check=True)
    subprocess.run(["mount", "-o", "loop,noquota", folder / "disk", folder / "root"], check=True)
    try:
        yield folder / "root"
    finally:
        subprocess.run(["umount", folder / "root"], check=True)
        shutil.rmtree(folder)


async def test_a_storage_without_quotas_is_known_at_start_and_watched(
    open_cell: OpenCell,
    start_engine: StartEngine,
    xfs: Path,
    rootfs_archive: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with start_engine("--storage-driver=overlay2", data_root=str(xfs)) as docker_host:
        async with open_cell(docker_host=docker_host, rootfs=f"preloaded:{rootfs_archive}", **SOON) as cell:
            assert kept_by(caplog) == {"watcher of the writable layer"}
            await cell.start(f"{FILL}; exec sleep 1000", allocation={"disk_mb": 16})
            complete = await cell.until(EventKind.COMPLETE)
            assert complete.run_result.failure_reason.startswith("disk limit of 16M exceeded: ")


async def test_an_image_of_its_own_counts_in_the_quota_of_the_storage(
    open_cell: OpenCell, start_engine: StartEngine, own_image: OwnImage
) -> None:
    with start_engine("--storage-driver=btrfs", before=BTRFS) as docker_host:
        client = APIClient(base_url=docker_host, version="auto")
        try:
            with own_image(client) as image:
                async with open_cell(docker_host=docker_host, rootfs=image, **SOON) as cell:
                    script = f"{FILL}; sync; echo wrote $(stat -c %s /tmp/fill); exec sleep 1000"
                    await cell.start(script, allocation={"disk_mb": 40})
                    assert "Disk quota exceeded" in await cell.log.until("dd: ")
                    written = int((await cell.log.until("wrote")).split()[1])
                    assert 8 << 20 < written < 16 << 20
        finally:
            client.close()


async def test_a_maker_of_many_files_is_ended(open_cell: OpenCell) -> None:
    async with open_cell(container_inode_limit=200, **SOON) as cell:
        await cell.start("cd /tmp; touch $(seq 300); exec sleep 1000")
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failure_reason.startswith("inode limit of 200 exceeded: ")


async def test_a_disk_filler_meets_the_quota_of_the_storage(
    open_cell: OpenCell,
    start_engine: StartEngine,
    rootfs_archive: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with start_engine("--storage-driver=btrfs", before=BTRFS) as docker_host:
        rootfs = f"preloaded:{rootfs_archive}"
        settings = {"container_metrics_report_interval_s": 0.1, **SOON}
        async with open_cell(docker_host=docker_host, rootfs=rootfs, **settings) as cell:
            script = f"{FILL}; sync; echo wrote $(stat -c %s /tmp/fill); exec sleep 1000"
            await cell.start(script, allocation={"disk_mb": 16})
            line = await cell.log.until("dd: ")
            assert "Disk quota exceeded" in line
            written = int((await cell.log.until("wrote")).split()[1])
            assert 8 << 20 < written <= 16 << 20
            metrics = cell.executor.metrics
            await cell.until_true(lambda: "ig" in metrics() and metrics()["ig"].disk_usage >= written)
            assert metrics()["ig"].disk_usage <= metrics()["ig"].disk_limit == 16 << 20
            assert not cell.executor.container("ig").run_result.failed
    assert kept_by(caplog) == {"quota of the engine's storage"}
