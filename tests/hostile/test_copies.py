"""Copies stay inside the container's view of its files, whatever an image or app contains."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from docker import APIClient

from bbs.models.actions import DownloadAction, RunAction, SerialAction, UploadAction
from executor.engine.api import BindMount, ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine
from executor.errors import EngineError, NoSuchFile
from executor.model import EventKind

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]
MIB = 1 << 20


async def output_of(engine: DockerEngine, container: EngineContainer, script: str, user: str = "root") -> str:
    """What a script writes that succeeds."""
    told = bytearray()
    spec = ProcessSpec(path="/bin/sh", args=("-c", script), user=user)
    process = await engine.start_process(container, spec, told.extend, told.extend)
    assert await process.wait() == 0, told
    return told.decode()


async def copied(engine: DockerEngine, container: EngineContainer, path: str, user: str = "vcap") -> bytes:
    target = io.BytesIO()
    await engine.copy_out(container, path, user, target, MIB)
    return target.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """A tar with one file, ``f``, that says "content"."""
    path = tmp_path / "f.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("f")
        info.size, info.mode = 7, 0o4755
        tar.addfile(info, io.BytesIO(b"content"))
    return str(path)


async def test_copies_see_mounts_volumes_and_temporary_file_systems(
    engine: DockerEngine, rootfs_image: str, archive: str, tmp_path: Path
) -> None:
    """A download to /dev/shm said success and was not there; files of /dev/shm and /proc were not found."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    mount = BindMount(source=str(volume), target="/mnt/volume", read_only=False)
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image, mounts=(mount,)))
    for target in ("/dev/shm/d", "/mnt/volume/d"):
        await engine.stream_in(container, target, "vcap", archive)
        assert await output_of(engine, container, f"cat {target}/f; stat -c ' %u %a' {target}/f") == (
            "content 2000 755\n"
        )
        assert await copied(engine, container, f"{target}/f") == b"content"
    assert (volume / "d/f").read_bytes() == b"content"
    assert (await copied(engine, container, "/proc/version")).startswith(b"Linux version")
    read_only = BindMount(source=str(volume), target="/mnt/volume")
    container = await engine.create(ContainerSpec(guid="g2", root_fs=rootfs_image, mounts=(read_only,)))
    with pytest.raises(EngineError, match=r"^/mnt/volume/d/f: read-only file system$"):
        await engine.stream_in(container, "/mnt/volume/d", "root", archive)


async def test_a_result_is_a_file_or_nothing(engine: DockerEngine, rootfs_image: str) -> None:
    """A FIFO, device or link as result file gave an empty success. No device an app made is opened."""
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    await output_of(
        engine,
        container,
        "mkfifo /tmp/fifo; mknod /tmp/zero c 1 5; chmod 666 /tmp/zero; cd /home/vcap; echo there >/tmp/real;"
        " ln -s /tmp/real link; ln -s /tmp/zero device; ln -s ../../../../../../etc/hostname up",
    )
    for path in ("/tmp/fifo", "/tmp/zero", "device", "/tmp/none", "/dev/null"):
        with pytest.raises(NoSuchFile):
            await copied(engine, container, path)
    assert await copied(engine, container, "link") == b"there\n"
    assert (await copied(engine, container, "up")).strip() == b"g1"


async def test_a_task_works_with_relative_paths(open_cell: OpenCell, archive: str) -> None:
    """Relative ``from`` and ``result_file`` were not found: they start at the user's home, as ``to`` does."""
    async with open_cell() as cell:
        cell.shelf.items["http://blobs/d"] = Path(archive)
        uploaded: list[bytes] = []

        async def upload(path: Path, url: str, *, progress: Any = None) -> int:
            uploaded.append(path.read_bytes())
            return 1

        cell.shelf.upload = upload  # type: ignore[method-assign]
        steps = SerialAction(
            actions=(
                DownloadAction(from_="http://blobs/d", to="./a", user="vcap"),
                RunAction(path="/bin/sh", args=("-c", "mkdir -p ~; echo root >~/r"), user="root"),
                UploadAction(from_="a/f", to="http://blobs/up", user="vcap"),
            )
        )
        await cell.start("exec sleep 1000", setup=steps)
        await cell.until(EventKind.RUNNING)
        assert uploaded == [b"content"]
        assert await cell.executor.read_file("ig", "r", 100) == b"root\n"


async def test_a_sparse_file_is_uploaded_no_further_than_the_disk_limit(open_cell: OpenCell) -> None:
    """A sparse file of 6 GB, of an app with a disk limit of 64 MB, filled the host's temp folder."""
    async with open_cell() as cell:
        steps = SerialAction(
            actions=(
                RunAction(path="/bin/sh", args=("-c", "truncate -s 6G /tmp/sparse"), user="vcap"),
                UploadAction(artifact="it", from_="/tmp/sparse", to="http://blobs/up", user="vcap"),
            )
        )
        await cell.start("exec sleep 1000", setup=steps, allocation={"disk_mb": 64})
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failure_reason == ("Failed to copy stream contents into temp file for it")


@pytest.fixture(scope="module")
def volume_image(
    docker_client: APIClient, rootfs_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """An image with two volumes, one of them with content and one behind a link."""
    repository = f"diego-cell/volumes-{os.urandom(4).hex()}"
    path = tmp_path_factory.mktemp("image") / "rootfs.tar"
    path.write_bytes(rootfs_archive.read_bytes())
    with tarfile.open(path, "a") as tar:
        for folder in ("data", "real"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.uid = tarfile.DIRTYPE, 0o755, 2000
            tar.addfile(info)
        info = tarfile.TarInfo("data/of-the-image")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"kept"))
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/real"
        tar.addfile(info)
    docker_client.import_image_from_file(
        str(path), repository=repository, tag="1", changes=["VOLUME /data", "VOLUME /link"]
    )
    yield f"{repository}:1"
    docker_client.remove_image(f"{repository}:1")


async def test_volumes_of_an_image_are_a_part_of_the_container(
    engine: DockerEngine, volume_image: str, docker_client: APIClient, tmp_path: Path
) -> None:
    """They were directories of the host, outside of every limit; an original cell ignores them."""
    (tmp_path / "file").write_text("mounted")
    (tmp_path / "folder").mkdir()
    mounts = (
        BindMount(source=str(tmp_path / "folder"), target="/data/deep/folder"),
        BindMount(source=str(tmp_path / "file"), target="/data/file"),
    )
    container = await engine.create(ContainerSpec(guid="g1", root_fs=volume_image, mounts=mounts))
    told = await output_of(
        engine,
        container,
        "cut -d' ' -f2 /proc/mounts | grep -E '^/(data|real|link)'; cat /data/of-the-image /data/file",
    )
    assert sorted(told.split()) == ["/data/deep/folder", "/data/file", "keptmounted"]
    await output_of(engine, container, "echo x >/data/new; echo y >/link/new", user="vcap")
    [upper] = [
        option.removeprefix("upperdir=")
        for line in Path(f"/proc/{container.init_pid}/mountinfo").read_text().splitlines()
        if " / / " in line
        for option in line.split(",")
        if option.startswith("upperdir=")
    ]
    assert Path(upper, "data/new").read_text() == "x\n"
    assert Path(upper, "real/new").read_text() == "y\n"
    volumes = docker_client.inspect_container(container.id)["Mounts"]
    assert {Path(mount["Source"], "new").exists() for mount in volumes if mount["Type"] == "volume"} == {
        False
    }


async def test_the_disk_limit_holds_in_a_volume_of_the_image(open_cell: OpenCell, volume_image: str) -> None:
    """``--disk-mb 40``, 200 MiB into a VOLUME: exit 0."""
    async with open_cell(rootfs=volume_image, container_limits_interval_s=0.05) as cell:
        await cell.start(
            "dd if=/dev/zero of=/data/big bs=1M count=60; exec sleep 1000", allocation={"disk_mb": 40}
        )
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failed
        assert "disk" in complete.run_result.failure_reason


async def test_links_moved_about_while_files_arrive_lead_no_copy_out_of_the_container(
    engine: DockerEngine, rootfs_image: str, tmp_path: Path
) -> None:
    """An app that swaps a directory and a link to the host's root while root unpacks below it."""
    path = tmp_path / "many.tar"
    name = f"escaped-{os.urandom(4).hex()}"
    with tarfile.open(path, "w") as tar:
        for number in range(300):
            info = tarfile.TarInfo(f"d/{number % 7}/{name}-{number}")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    swap = "while :; do ln -s ../../../../../../tmp d 2>&-; mv d e; rm -r e; mkdir d; mv d e; rm -r e; done"
    spec = ProcessSpec(path="/bin/sh", args=("-c", f"mkdir -p /tmp/w; cd /tmp/w; {swap}"), user="root")
    process = await engine.start_process(container, spec, lambda _: None, lambda _: None)
    failures = []
    for _ in range(20):
        try:
            await engine.stream_in(container, "/tmp/w", "root", str(path))
        except EngineError as error:  # a race may make the copy fail, as long as it stays inside
            failures.append(str(error))
    await process.signal(9)
    await process.wait()
    assert [found for found in os.listdir("/tmp") if found.startswith("escaped-")] == []
    assert all("refused" in failure or failure.startswith("/tmp/w") for failure in failures), failures


async def test_a_copy_never_waits_for_a_fifo(engine: DockerEngine, rootfs_image: str, archive: str) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    await output_of(
        engine, container, "mkdir -m 777 /tmp/d; mkfifo /tmp/d/f; rm /etc/passwd; mkfifo /etc/passwd"
    )
    async with asyncio.timeout(20):
        await engine.stream_in(container, "/tmp/d", "root", archive)
    inside = Path(f"/proc/{container.init_pid}/root/tmp/d/f")
    assert stat.S_ISREG(inside.lstat().st_mode)
