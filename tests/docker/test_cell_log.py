"""The component log of a real cell at level debug: whom each line is about, and what no line may contain.

``redact_secrets`` is off: the cell itself must not write what it knows to be secret.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import DownloadAction, RunAction, SerialAction, UploadAction
from bbs.models.common import EnvironmentVariable, File, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError
from bbs.models.task import TaskDefinition, TaskState
from bbs.models.workload import CachedDependency, SharedDevice, VolumeMount
from cell.development.freeport import free_port
from cell.development.local import local_cell
from cell.development.slots import take_slots
from tests.support.local_reps import QUICK, LocalRep
from tests.support.waiting import until, until_so

pytestmark = pytest.mark.docker

SECRET = "pl4nted-s3cret"
"""A part of every secret, which then has a word of its own: it tells where a leak comes from."""
NOWHERE = f"http://user:{SECRET}-url@127.0.0.1:1/file.tgz?signature={SECRET}-query"
VOLUME_CONFIG = json.dumps({"source": "/not/allowed", "password": f"{SECRET}-volume"})
ROOT_FS = "preloaded:busybox"
RUN = RunAction(path="sh", args=("-c", "exit 3"), user="root")
HIDDEN = RunAction(
    path="sh",
    args=("-c", f"echo {SECRET}-argument >/dev/null; exit 3"),
    env=(EnvironmentVariable(name="TOKEN", value=f"{SECRET}-action-env"),),
    user="root",
)

TASKS = {
    "planted-run": TaskDefinition(
        root_fs=ROOT_FS,
        action=HIDDEN,
        environment_variables=(EnvironmentVariable(name="PASSWORD", value=f"{SECRET}-env"),),
        volume_mounted_files=(File(path="credentials", content=f"{SECRET}-file"),),
    ),
    "planted-image": TaskDefinition(
        root_fs="docker://127.0.0.1:1/private/image",
        image_username="user",
        image_password=f"{SECRET}-registry",
        action=RUN,
    ),
    "planted-volume": TaskDefinition(
        root_fs=ROOT_FS,
        action=RUN,
        volume_mounts=(
            VolumeMount(
                driver="bind",
                container_dir="/data",
                mode="rw",
                shared=SharedDevice(volume_id="v", mount_config=VOLUME_CONFIG),
            ),
        ),
    ),
    "planted-download": TaskDefinition(
        root_fs=ROOT_FS,
        action=SerialAction(
            actions=(DownloadAction(artifact="droplet", from_=NOWHERE, to="/tmp", user="root"), RUN)
        ),
    ),
    "planted-upload": TaskDefinition(
        root_fs=ROOT_FS,
        action=UploadAction(artifact="result", from_="/etc/passwd", to=NOWHERE, user="root"),
    ),
    "planted-dependency": TaskDefinition(
        root_fs=ROOT_FS,
        action=RUN,
        cached_dependencies=(CachedDependency(name="tool", from_=NOWHERE, to="/tool", cache_key="tool"),),
    ),
}
LRP = DesiredLRP(
    process_guid="planted-lrp",
    domain="d",
    root_fs=ROOT_FS,
    instances=1,
    metric_tags={"source_id": MetricTagValue(static="planted-lrp")},
    action=HIDDEN,
    environment_variables=(EnvironmentVariable(name="VCAP_SERVICES", value=f"{SECRET}-services"),),
)


@dataclass(frozen=True)
class Watched:
    """A cell with ``cell rep``, and the control plane's client. debug: URL of the debug server."""

    rep: LocalRep
    bbs: HTTPBBSClient
    debug: str

    def entries(self) -> list[dict[str, Any]]:
        """The entries of the log so far; lines of apps are in the same file."""
        lines = self.rep.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [entry for entry in found if "timestamp" in entry]


@pytest.fixture
async def cell(tmp_path: Path) -> AsyncIterator[Watched]:
    debug = f"127.0.0.1:{free_port()}"
    settings = {
        **QUICK,
        "log_level": "debug",
        "debug_address": debug,
        "time_format": "rfc3339",
        "volume_mounted_files": str(tmp_path / "files"),
        "volume_bind_paths": [str(tmp_path / "files")],
    }
    (tmp_path / "files").mkdir()
    async with local_cell(tmp_path / "plane", arguments=["--cells", "0"]) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, tmp_path / slot.cell_id, settings=settings)
            async with rep.running(), HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                yield Watched(rep, bbs, f"http://{debug}/log-level")


async def test_every_line_names_its_container_and_no_line_has_a_secret(cell: Watched) -> None:
    for guid, definition in TASKS.items():
        await cell.bbs.desire_task(guid, "d", definition)
    await cell.bbs.desire_lrp(LRP)
    instances: set[str] = set()

    async def all_ended() -> bool:
        lrps = await cell.bbs.actual_lrps(process_guid=LRP.process_guid)
        instances.update(filter(None, (lrp.actual_lrp_instance_key.instance_guid for lrp in lrps)))
        deleted = {
            entry["data"]["guid"]
            for entry in cell.entries()
            if entry.get("data", {}).get("command") == "DeleteContainer"
        }
        return deleted >= TASKS.keys() and bool(deleted & instances)  # the LRP crashes again and again

    await until_so(all_ended)
    await cell.bbs.remove_desired_lrp(LRP.process_guid)
    for guid in TASKS:
        with suppress(BBSError):  # it has ended
            await cell.bbs.cancel_task(guid)

    async def no_work_is_left() -> bool:
        lrps = await cell.bbs.actual_lrps(process_guid=LRP.process_guid)
        tasks = await cell.bbs.tasks()
        return not lrps and all(task.state is TaskState.Completed for task in tasks)

    await until_so(no_work_is_left)
    await cell.rep.stop()

    text = cell.rep.log.read_text()
    encoded = base64.b64encode(f'"password":"{SECRET}'.encode())[4:-4].decode()
    leaks = [line for line in text.splitlines() if SECRET in line or encoded in line]
    assert leaks == []
    named: set[str] = set()
    nameless = []
    for entry in cell.entries():
        data = entry.get("data", {})
        mentioned = {guid for guid in (*TASKS, *instances) if guid in json.dumps(entry)}
        if "guids" not in data and mentioned - {data.get("guid")}:
            nameless.append(entry)
        named |= {data["guid"]} if "guid" in data else set()
    assert nameless == []
    assert named >= TASKS.keys()
    assert named & instances


async def test_the_level_changes_while_the_cell_runs_and_a_file_may_be_rotated(
    cell: Watched, tmp_path: Path
) -> None:
    async with aiohttp.ClientSession() as session:

        async def level() -> str:
            async with session.get(cell.debug) as answer:
                return (await answer.text()).strip()

        assert await level() == "debug"
        async with session.put(cell.debug, data="error") as answer:
            assert answer.status == 200
        assert await level() == "error"
        cell.rep.signal(signal.SIGHUP)
        await until_so(lambda: _equals(level, "debug"))
        keys = json.loads(cell.rep.config.read_text())
        cell.rep.config.write_text(json.dumps({**keys, "log_level": "fatal", "log_format": "text"}))
        cell.rep.signal(signal.SIGHUP)
        await until_so(lambda: _equals(level, "fatal"))
        async with session.put(cell.debug, data="info"):
            pass
    await until(lambda: " INFO  rep.log-level-changed level=info before=fatal" in cell.rep.log_tail())

    await cell.rep.stop()
    log = tmp_path / "own.log"
    cell.rep.config.write_text(json.dumps({**keys, "log_file": str(log)}))
    await cell.rep.start()
    await until(lambda: log.exists() and "rep.started" in log.read_text())
    os.rename(log, tmp_path / "own.log.1")
    await until(log.exists)
    await cell.rep.stop()
    assert "rep.exited" in log.read_text()
    assert "rep.started" not in log.read_text()


async def _equals(read: Any, expected: str) -> bool:
    return bool(await read() == expected)
