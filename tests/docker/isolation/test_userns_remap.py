"""An LRP on an engine with user remapping: its users have no rights on the host."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, closing
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import docker
import psutil
import pytest

from bbs.models.actions import DownloadAction
from bbs.models.common import File
from bbs.models.workload import CachedDependency, Check, CheckDefinition, TCPCheck
from executor.engine.api import ContainerSpec, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.model import EventKind
from tests.support.engines import REMAP
from tests.support.engines import REMAPPED_FIRST as FIRST

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]
StartEngine = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def remapped(start_engine: StartEngine) -> AbstractContextManager[str]:
    return start_engine("--userns-remap=daemon", before=REMAP)


def archive_of(path: Path, name: str, content: bytes) -> Path:
    source = path.with_suffix(".content")
    source.write_bytes(content)
    with tarfile.open(path, "w") as archive:
        archive.add(source, name)
    return path


async def test_an_lrp_lives_under_remapped_users(
    remapped: AbstractContextManager[str],
    open_cell: OpenCell,
    rootfs_archive: Path,
    identity: dict[str, Any],
    tmp_path: Path,
) -> None:
    dependency = tmp_path / "dependency"
    dependency.mkdir()
    (dependency / "lifecycle").write_text("from the cache")
    with remapped as docker_host:
        rootfs = f"preloaded:{rootfs_archive}"
        service_files = str(tmp_path / "services")
        async with open_cell(
            docker_host=docker_host, rootfs=rootfs, volume_mounted_files=service_files, **identity
        ) as cell:
            cell.shelf.items["dependency"] = dependency
            cell.shelf.items["droplet"] = archive_of(tmp_path / "droplet.tar", "app.txt", b"droplet")
            await cell.start(
                "cd /home/vcap/app && ls -ln app.txt > listing && cp /etc/cf-service-bindings/db/password "
                "/tmp/lifecycle/lifecycle $CF_INSTANCE_CERT . && httpd -f -p 8080",
                ports=(8080,),
                cached_dependencies=(CachedDependency(from_="dependency", to="/tmp/lifecycle"),),
                setup=DownloadAction(from_="droplet", to="/home/vcap/app", user="vcap"),
                volume_mounted_files=(File(path="db/password", content="s3cret"),),
                check_definition=CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080)),)),
            )
            container = await cell.until(EventKind.RUNNING)
            base = f"http://{container.external_ip}:{container.ports[0].host_port}"
            async with aiohttp.ClientSession(base) as session:
                served = {}
                for name in ("listing", "password", "lifecycle", "app.txt", "instance.crt"):
                    async with session.get(f"/{name}") as response:
                        served[name] = await response.text()
            assert served["listing"].split()[2:4] == ["2000", "2000"]
            assert (served["password"], served["lifecycle"], served["app.txt"]) == (
                "s3cret",
                "from the cache",
                "droplet",
            )
            assert served["instance.crt"].startswith("-----BEGIN CERTIFICATE-----")
            made = await cell.engine.find("ig")
            assert made is not None
            init = psutil.Process(made.init_pid)
            assert init.uids().real == FIRST
            users = {each.uids().real for each in psutil.process_iter() if made.id in cgroup_of(each.pid)}
            assert users == {FIRST, FIRST + 2000}
            await cell.executor.delete("ig")
            assert (await cell.until(EventKind.COMPLETE)).run_result.stopped


async def test_a_privileged_container_is_not_remapped(
    remapped: AbstractContextManager[str], open_cell: OpenCell, rootfs_archive: Path
) -> None:
    with remapped as docker_host:
        async with open_cell(
            docker_host=docker_host,
            rootfs=f"preloaded:{rootfs_archive}",
            allow_privileged_containers=True,
        ) as cell:
            [outer, _] = await cell.output("cat /proc/self/uid_map; id -u", user="root", privileged=True)
            assert outer.split()[:2] == ["0", "0"]


def cgroup_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def test_copies_and_image_volumes_under_remapped_users(
    remapped: AbstractContextManager[str], rootfs_archive: Path, unique: str, tmp_path: Path
) -> None:
    """Files belong to the container's users wherever they go, and root may write what is the users'."""
    tar = str(archive_of(tmp_path / "in.tar", "f", b"content"))
    with remapped as docker_host:
        with closing(docker.APIClient(docker_host, version="auto")) as client:
            image = f"diego-cell/{unique}"
            client.import_image_from_file(
                str(rootfs_archive), repository=image, tag="1", changes=["VOLUME /tmp/volume"]
            )
        config = EngineConfig(state_dir=tmp_path, owner=unique, cell_id=unique, docker_host=docker_host)
        engine = DockerEngine(config)
        try:
            container = await engine.create(ContainerSpec(guid="ig", root_fs=f"{image}:1"))
            for target, user in (("/dev/shm/v", "vcap"), ("/dev/shm/r", "root"), ("/home/vcap", "root")):
                await engine.stream_in(container, target, user, tar)
            told = bytearray()
            script = "stat -c %u:%g /dev/shm/v/f /dev/shm/r/f /home/vcap/f; grep -c volume /proc/mounts"
            spec = ProcessSpec(path="/bin/sh", args=("-c", script))
            process = await engine.start_process(container, spec, told.extend, told.extend)
            await process.wait()
            assert told.decode().split() == ["2000:2000", "0:0", "0:0", "0"]
            content = BytesIO()
            assert await engine.copy_out(container, "f", "vcap", content, 100) == len(content.getvalue()) == 7
        finally:
            await engine.destroy("ig")
            await engine.close()
