"""Containers on a real engine: environment of an app, files in and out, memory, removal."""

from __future__ import annotations

import asyncio
import gc
import io
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker import APIClient

from executor.engine.api import BindMount, ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.engine.images import IMPORTED, LABEL_PATH
from executor.errors import ContainerGone, EngineError, EngineUnavailable, ImageError, NoSuchFile

pytestmark = pytest.mark.docker


@pytest.fixture
def imported(docker_client: APIClient) -> Iterator[Callable[[EngineContainer], None]]:
    """Takes containers whose images were imported for them: the images go when the containers are gone."""
    names: set[str] = set()
    yield lambda made: names.add(docker_client.inspect_container(made.id)["Config"]["Image"])
    for name in names:
        docker_client.remove_image(name)


async def output_of(
    engine: DockerEngine, container: EngineContainer, script: str, *, user: str = "root"
) -> tuple[int, str]:
    told = bytearray()
    process = await engine.start_process(
        container, ProcessSpec(path="/bin/sh", args=("-c", script), user=user), told.extend, told.extend
    )
    async with asyncio.timeout(30):
        status = await process.wait()
    return status, told.decode()


async def test_what_an_app_finds(
    engine: DockerEngine, docker_client: APIClient, rootfs_image: str, tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "hello").write_text("from the host")
    guid = "0123456789-0123456789-0123456789-0123456789-0123456789-0123456789"
    container = await engine.create(
        ContainerSpec(
            guid=guid,
            root_fs=rootfs_image,
            address="192.0.2.7",
            memory_bytes=64 << 20,
            max_pids=100,
            cpu_shares=12,
            mounts=(BindMount(source=str(mounted), target="/etc/mounted"),),
            labels={"more": "labels"},
        )
    )
    assert container.labels["more"] == "labels"
    script = "hostname; cat /etc/mounted/hello; touch /etc/mounted/x 2>/dev/null || echo; hostname -i"
    status, told = await output_of(engine, container, f"{script}; ls /sys/class/net")
    hostname, hello, address, *interfaces = told.splitlines()
    assert status == 0
    assert Path(f"/proc/{container.init_pid}/comm").read_text().strip() == "init"
    assert (hostname, hello) == (guid[-49:], "from the host")
    assert address == container.address == "192.0.2.7"
    assert interfaces == ["lo"]
    limits = docker_client.inspect_container(container.id)["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"]) == (64 << 20, 64 << 20)
    assert (limits["PidsLimit"], limits["CpuShares"]) == (100, 12)
    assert await engine.list_guids() == {guid}


async def test_a_root_without_shell_libc_or_users(
    imported: Callable[[EngineContainer], None], engine: DockerEngine, tmp_path: Path
) -> None:
    archive = tmp_path / "single.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add("/bin/busybox", arcname="true")
    said: list[str] = []
    container = await engine.create(
        ContainerSpec(guid="g1", root_fs=f"preloaded:{archive}"), progress=said.append
    )
    imported(container)
    assert said == [f"importing rootfs {archive}"]
    process = await engine.start_process(container, ProcessSpec(path="/true"), lambda _: None, lambda _: None)
    assert await process.wait() == 0


async def test_an_archive_is_imported_once_until_it_changes(
    imported: Callable[[EngineContainer], None], engine: DockerEngine, tmp_path: Path
) -> None:
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "one").write_text("1")
    said: list[str] = []
    for number in range(3):
        if number == 2:
            (folder / "two").write_text("2")
        made = await engine.create(
            ContainerSpec(guid=f"g{number}", root_fs=f"preloaded+layer:{folder}?layer=x"),
            progress=said.append,
        )
        imported(made)
    assert said == [f"importing rootfs {folder}"] * 2


def _imported_of(client: APIClient, folder: Path) -> list[str]:
    """The images that were made of an archive or folder."""
    made = client.images(IMPORTED, filters={"label": f"{LABEL_PATH}={folder}"})
    return sorted(tag for image in made for tag in image["RepoTags"] or ())


async def test_what_an_archive_was_before_goes_unless_a_container_has_it(
    imported: Callable[[EngineContainer], None],
    engine: DockerEngine,
    docker_client: APIClient,
    tmp_path: Path,
) -> None:
    folder, another = tmp_path / "stack", tmp_path / "another"
    for each in (folder, another):
        each.mkdir()
        (each / "file").write_text("as it was first")

    async def image(guid: str, of: Path) -> str:
        made = await engine.create(ContainerSpec(guid=guid, root_fs=f"preloaded:{of}"))
        return str(docker_client.inspect_container(made.id)["Config"]["Image"])

    first, other = await image("g0", folder), await image("g1", another)
    (folder / "more").write_text("as it was then")
    second = await image("g2", folder)
    assert _imported_of(docker_client, folder) == sorted([first, second])
    await engine.destroy("g0")
    await engine.destroy("g1")
    await engine.destroy("g2")
    (folder / "still more").write_text("as it is now")
    third = await engine.create(ContainerSpec(guid="g3", root_fs=f"preloaded:{folder}"))
    imported(third)
    assert len(_imported_of(docker_client, folder)) == 1
    assert _imported_of(docker_client, another) == [other]
    shutil.rmtree(another)
    (folder / "last").write_text("and at last")
    imported(await engine.create(ContainerSpec(guid="g4", root_fs=f"preloaded:{folder}")))
    assert _imported_of(docker_client, another) == []


async def test_images_that_cannot_be_had(engine: DockerEngine) -> None:
    with pytest.raises(
        ImageError, match=r"failed to pull image no/such:1 from registry 127\.0\.0\.1:9: .*refused"
    ):
        await engine.create(ContainerSpec(guid="g1", root_fs="docker://127.0.0.1:9/no/such#1"))
    with pytest.raises(ImageError, match="no such file"):
        await engine.create(ContainerSpec(guid="g1", root_fs="preloaded:/no/such.tar"))
    assert await engine.list_guids() == set()


async def test_a_local_image_serves_while_its_registry_is_unreachable(
    engine: DockerEngine, docker_client: APIClient, rootfs_image: str, unique: str
) -> None:
    name = f"127.0.0.1:9/{unique}"
    docker_client.tag(rootfs_image, name, "1")
    try:
        container = await engine.create(ContainerSpec(guid="g1", root_fs=f"docker://{name}#1"))
        assert (await output_of(engine, container, "true"))[0] == 0
    finally:
        docker_client.remove_image(f"{name}:1")


async def test_a_guid_is_used_once_and_the_first_one_survives(
    engine: DockerEngine, rootfs_image: str
) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    with pytest.raises(EngineError, match="already in use"):
        await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    assert (await output_of(engine, container, "true"))[0] == 0


async def test_a_failure_leaves_nothing(engine: DockerEngine, rootfs_image: str, tmp_path: Path) -> None:
    missing = BindMount(source="/no/such/source", target="/x")
    with pytest.raises(EngineError, match="/no/such/source"):
        await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image, mounts=(missing,)))
    assert await engine.list_guids() == set()
    assert list((tmp_path / "io").iterdir()) == []


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.2])
async def test_a_cancelled_creation_leaves_nothing(
    engine: DockerEngine, rootfs_image: str, pause: float
) -> None:
    task = asyncio.create_task(engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image)))
    await asyncio.wait([task], timeout=pause)
    if task.cancel():
        await asyncio.wait([task])
        assert await engine.list_guids() == set()


async def test_destroying_is_idempotent(engine: DockerEngine, rootfs_image: str) -> None:
    await engine.destroy("never-there")
    await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    await asyncio.gather(engine.destroy("g1"), engine.destroy("g1"))
    await engine.destroy("g1")
    assert await engine.list_guids() == set()


async def test_a_container_that_somebody_removed(
    engine: DockerEngine, docker_client: APIClient, rootfs_image: str
) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    docker_client.remove_container(container.id, force=True)
    with pytest.raises(ContainerGone):
        await output_of(engine, container, "true")
    with pytest.raises(ContainerGone):
        await engine.copy_out(container, "/etc/passwd", "root", io.BytesIO(), 1000)
    with pytest.raises(ContainerGone):
        await engine.stream_in(container, "/tmp", "root", "/dev/null")
    assert not await engine.out_of_memory(container)
    await engine.destroy("g1")


async def test_memory(engine: DockerEngine, rootfs_image: str) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image, memory_bytes=32 << 20))
    assert not await engine.out_of_memory(container)
    status, _ = await output_of(engine, container, "exec tail -c 200m /dev/zero")
    assert status == 137
    assert await engine.out_of_memory(container)


async def test_the_hosts_size(engine: DockerEngine) -> None:
    await engine.ping()
    assert await engine.total_memory_bytes() > 1 << 28
    assert await engine.storage_bytes() > 1 << 30


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_no_engine(tmp_path: Path) -> None:
    """The SDK does not close a socket that did not connect: it is collected here."""
    room = DockerEngine(
        EngineConfig(
            state_dir=tmp_path,
            owner="o",
            cell_id="c",
            docker_host=f"unix://{tmp_path}/none",
        )
    )
    with pytest.raises(EngineUnavailable):
        await room.ping()
    await room.close()
    gc.collect()


async def test_a_privileged_container_may_mount_and_another_may_not(
    engine: DockerEngine, rootfs_image: str
) -> None:
    for guid, privileged in (("g1", False), ("g2", True)):
        container = await engine.create(ContainerSpec(guid=guid, root_fs=rootfs_image, privileged=privileged))
        status, told = await output_of(engine, container, "mount -t tmpfs tmpfs /tmp")
        assert (status == 0) is privileged, told


async def test_a_privileged_container_has_the_fuse_device_for_everyone_and_another_has_none(
    engine: DockerEngine, rootfs_image: str
) -> None:
    """FUSE file systems of privileged work find their device, as in a deployed cell."""
    script = "stat -c '%F %a %t:%T' /dev/fuse; : 2>&1 <>/dev/fuse && echo opened"
    privileged = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image, privileged=True))
    _, told = await output_of(engine, privileged, script)
    kind, opened = told.split("\n", 1)
    assert kind == "character special file 666 a:e5"
    assert opened == "opened\n" or "fuse" not in Path("/proc/filesystems").read_text()
    plain = await engine.create(ContainerSpec(guid="g2", root_fs=rootfs_image))
    status, _ = await output_of(engine, plain, "stat /dev/fuse")
    assert status == 1


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o640) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.uid, member.gid = kind, link, mode, 12, 34
    return member


async def test_streaming_in(engine: DockerEngine, rootfs_image: str, tmp_path: Path) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    long = "x" * 180
    archive = make_tar(
        tmp_path / "in.tar",
        (entry("./", tarfile.DIRTYPE, mode=0o700), b""),
        (entry("./a/b/file"), b"content"),
        (entry("./a/link", tarfile.SYMTYPE, "../../../../../etc/passwd"), b""),
        (entry("a/hard", tarfile.LNKTYPE, "./a/b/file"), b""),
        (entry(f"{long}/ünï", mode=0o755), b"odd"),
    )
    await engine.stream_in(container, "app/here", "vcap", archive)
    script = f"""cd /home/vcap; stat -c '%n %u:%g %a' app app/here app/here/a app/here/a/b app/here/a/b/file
    cd app/here; cat a/hard */ünï; stat -c '%h %a' a/hard {long}/ünï; readlink a/link"""
    _, told = await output_of(engine, container, script, user="vcap")
    assert told.splitlines() == [
        "app 2000:2000 755",
        "app/here 2000:2000 755",
        "app/here/a 2000:2000 755",
        "app/here/a/b 2000:2000 755",
        "app/here/a/b/file 2000:2000 640",
        "contentodd2 640",
        "1 755",
        "../../../../../etc/passwd",
    ]


async def test_streaming_in_keeps_directories_that_exist(
    engine: DockerEngine, rootfs_image: str, tmp_path: Path
) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    archive = make_tar(tmp_path / "in.tar", (entry("tmp", tarfile.DIRTYPE), b""), (entry("tmp/x"), b"x"))
    await engine.stream_in(container, "/", "vcap", archive)
    _, told = await output_of(engine, container, "stat -c '%u %a' / /tmp /tmp/x")
    assert told.splitlines() == ["0 755", "0 1777", "2000 640"]


@pytest.mark.parametrize(
    "members",
    [
        [entry("../x")],
        [entry("/etc/x")],
        [entry("dev", tarfile.CHRTYPE)],
        [entry("l", tarfile.SYMTYPE, "/etc"), entry("l/passwd")],
        [entry("h", tarfile.LNKTYPE, "../../etc/shadow")],
    ],
    ids=["parent", "absolute", "device", "behind-a-link", "foreign-hard-link"],
)
async def test_hostile_members_are_refused(
    engine: DockerEngine, rootfs_image: str, tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    archive = make_tar(tmp_path / "bad.tar", *((member, b"") for member in members))
    with pytest.raises(EngineError, match="refused"):
        await engine.stream_in(container, "app", "vcap", archive)


async def test_copying_out(engine: DockerEngine, rootfs_image: str) -> None:
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    await output_of(engine, container, "mkdir /tmp/d; seq 1000000 >/tmp/d/big")
    expected = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    copied = io.BytesIO()
    size = await engine.copy_out(container, "/tmp/d/big", "vcap", copied, len(expected))
    assert (size, copied.getvalue()) == (len(expected), expected)
    assert await engine.copy_out(container, "/tmp/d", "vcap", io.BytesIO(), 0) == 0
    with pytest.raises(NoSuchFile, match="/tmp/none"):
        await engine.copy_out(container, "/tmp/none", "vcap", io.BytesIO(), 1000)
