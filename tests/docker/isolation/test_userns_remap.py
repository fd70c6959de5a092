"""An LRP on an engine that remaps users: nothing in it is anybody on the host."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil
import pytest

from bbs.models.actions import DownloadAction
from bbs.models.common import File
from bbs.models.workload import CachedDependency, Check, CheckDefinition, TCPCheck
from executor.model import EventKind

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]
StartEngine = Callable[..., AbstractContextManager[str]]

FIRST, COUNT = 100_000, 65_536
"""The host's users that stand in for the containers'."""

REMAP = (
    f'echo "daemon:{FIRST}:{COUNT}" > "$DIR/ids"; '
    'mount --bind "$DIR/ids" /etc/subuid; mount --bind "$DIR/ids" /etc/subgid'
)


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
