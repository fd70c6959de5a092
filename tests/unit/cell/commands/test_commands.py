"""The commands, with a real file server, a real log board, and a BBS with one scripted cell."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from unittest.mock import patch

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from bbs.client.oneshot import OneShotBBSClient
from bbs.embedded.files.server import fileserver_app
from bbs.models.actions import (
    Action,
    EmitProgressAction,
    ParallelAction,
    SerialAction,
    TimeoutAction,
    UploadAction,
)
from bbs.models.actual_lrp import ActualLRP, ActualLRPKey, ActualLRPNetInfo, PortMapping
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task, TaskDefinition, TaskState
from cell.apps.lookup import find_app
from cell.apps.stagingresult import StagingFailed
from cell.client.output import Output
from cell.client.session import CommandFailed, Session
from cell.client.target import BadArguments, Target
from cell.development.logboard import LogBoard
from cell.main import main
from executor.logs.api import LogLine, Stream
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

RESULT = {
    "lifecycle_metadata": {"detected_buildpack": "scripted"},
    "process_types": {"web": "./run"},
    "execution_metadata": "",
    "lifecycle_type": "buildpack",
}
DROPLET = b"a droplet"


def uploads_of(action: Action | None) -> list[UploadAction]:
    match action:
        case UploadAction():
            return [action]
        case TimeoutAction() | EmitProgressAction():
            return uploads_of(action.action)
        case SerialAction() | ParallelAction():
            return [found for each in action.actions for found in uploads_of(each)]
    return []


@dataclass
class OneCell:
    """A BBS and its cell in memory. Tasks end when they are desired, instances come up at once.

    failure: of the next Tasks. crash: of the next LRPs. stuck: Tasks do not end.
    state, address: of instances.
    """

    board: LogBoard
    failure: str = ""
    crash: str = ""
    stuck: bool = False
    state: Callable[[], str] = lambda: "RUNNING"
    address: tuple[str, int] = ("10.0.0.1", 61001)
    result: str = json.dumps(RESULT)
    staged: list[TaskDefinition] = field(default_factory=list)
    known_tasks: dict[str, Task] = field(default_factory=dict)
    desired: dict[str, DesiredLRP] = field(default_factory=dict)
    crashes: dict[str, str] = field(default_factory=dict)
    has_task: asyncio.Event = field(default_factory=asyncio.Event)

    async def desire_task(self, task_guid: str, domain: str, definition: TaskDefinition) -> None:
        self.staged.append(definition)
        self._say(definition.log_guid, "STG", f"at work on {len(self.staged)}")
        state = TaskState.Running if self.stuck else TaskState.Completed
        if state is TaskState.Completed and not self.failure:
            async with aiohttp.ClientSession() as session:
                for upload in uploads_of(definition.action):
                    async with session.post(upload.to, data=DROPLET) as response:
                        assert response.status < 300
        self.known_tasks[task_guid] = Task(
            task_guid=task_guid,
            domain=domain,
            state=state,
            failed=bool(self.failure),
            failure_reason=self.failure,
            result="" if self.failure else self.result,
        )
        self.has_task.set()

    async def task(self, task_guid: str) -> Task:
        return self.known_tasks[task_guid]

    async def cancel_task(self, task_guid: str) -> None:
        self.known_tasks[task_guid] = replace(self.known_tasks[task_guid], state=TaskState.Completed)

    async def resolving_task(self, task_guid: str) -> None:
        assert self.known_tasks[task_guid].state is TaskState.Completed

    async def delete_task(self, task_guid: str) -> None:
        del self.known_tasks[task_guid]

    async def desired_lrps(self, *, domain: str = "") -> list[DesiredLRP]:
        return [lrp for lrp in self.desired.values() if domain in ("", lrp.domain)]

    async def desired_lrp(self, process_guid: str) -> DesiredLRP:
        self._known(process_guid)
        return self.desired[process_guid]

    async def desire_lrp(self, lrp: DesiredLRP) -> None:
        self.desired[lrp.process_guid] = lrp
        self.crashes[lrp.process_guid] = self.crash
        self._say(lrp.log_guid, "APP/PROC/WEB", "no use" if self.crash else "listening")

    async def update_desired_lrp(self, process_guid: str, update: DesiredLRPUpdate) -> None:
        self._known(process_guid)
        self.desired[process_guid] = replace(self.desired[process_guid], instances=update.instances or 0)

    async def remove_desired_lrp(self, process_guid: str) -> None:
        self._known(process_guid)
        del self.desired[process_guid]

    async def upsert_domain(self, domain: str, ttl_s: int) -> None:
        assert (domain, ttl_s) == ("cf-apps", 0)

    async def actual_lrps(self, *, process_guid: str) -> list[ActualLRP]:
        lrp, crash = self.desired[process_guid], self.crashes[process_guid]
        host, port = self.address
        net = ActualLRPNetInfo(address=host, ports=(PortMapping(container_port=8080, host_port=port),))
        return [
            ActualLRP(
                actual_lrp_key=ActualLRPKey(process_guid=process_guid, index=index, domain=lrp.domain),
                actual_lrp_net_info=net,
                state="CRASHED" if crash else self.state(),
                crash_count=int(bool(crash)),
                crash_reason=crash,
            )
            for index in range(lrp.instances)
        ]

    def _known(self, process_guid: str) -> None:
        if process_guid not in self.desired:
            raise BBSError(ErrorType.ResourceNotFound)

    def _say(self, source: str, source_type: str, text: str) -> None:
        self.board.emit(LogLine(text.encode(), Stream.OUT, source, "0", source_type, time.time_ns()))


@dataclass
class World:
    """cell: behind the BBS. at: what a command gets. said: what it prints."""

    cell: OneCell
    at: Session
    said: io.StringIO

    async def run(self, command: str, *words: str | Path) -> str:
        """Type a command; what it printed. Raises what it fails with."""
        self.said.seek(0)
        self.said.truncate()
        works: list[Callable[[Session], Awaitable[None]]] = []
        with patch("cell.client.session.execute", lambda _, work, **__: works.append(work)):
            assert main([command, *map(str, words)]) == 0
        try:
            await works[0](self.at)
        except* (BadArguments, CommandFailed, BBSError) as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                (error,) = error.exceptions
            raise error from None
        return self.said.getvalue()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    board, said = LogBoard(), io.StringIO()
    cell = OneCell(board)
    async with (
        TestServer(board.app()) as logs,
        TestServer(fileserver_app(tmp_path / "static", polling_interval_s=0)) as files,
    ):
        target = Target(
            bbs_url="http://bbs",
            file_server=f"http://{files.host}:{files.port}",
            logs=f"http://{logs.host}:{logs.port}",
        )
        yield World(cell, Session(target, Output(said, for_people=False), cast(OneShotBBSClient, cell)), said)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "index.html").write_text("x")
    return folder


async def test_a_staging_and_its_result(world: World, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(await world.run("stage", app))
    assert told["result"] == RESULT
    async with aiohttp.ClientSession() as session, session.get(told["droplet"]) as response:
        assert await response.read() == DROPLET
        assert response.headers["ETag"] == f'"{told["sha256"]}"'
    assert capsys.readouterr().err == "   at work on 1\n"
    assert world.cell.known_tasks == {}


async def test_people_are_shown_the_result(
    world: World, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.at.output.for_people = True
    said = await world.run("stage", app)
    assert said.splitlines()[:2] == ["web: ./run", "detected_buildpack: scripted"]
    assert capsys.readouterr().out == "   at work on 1\n"


async def test_the_cache_of_a_staging_is_there_for_the_next_one(
    world: World, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.run("push", app)
    await world.run("stage", app)
    looked_for = [repr(each.action).count("from_='http") for each in world.cell.staged]
    assert looked_for == [1, 2]
    assert capsys.readouterr().err.count("at work on 1") == 1


@pytest.mark.parametrize("form", [[], ["--classic"]])
async def test_an_app_is_told_its_variables_in_both_forms(world: World, app: Path, form: list[str]) -> None:
    await world.run("push", app, "-e", "GREETING=hi", "-m", "1G", *form)
    (lrp,) = world.cell.desired.values()
    assert "EnvironmentVariable(name='GREETING', value='hi')" in repr(lrp.action)
    assert "EnvironmentVariable(name='MEMORY_LIMIT', value='1024m')" in repr(lrp.action)
    assert lrp.memory_mb == 1024
    assert lrp.privileged == bool(form)


async def test_a_staging_that_fails(world: World, app: Path) -> None:
    world.cell.failure = "STG: Exited with status 222"
    with pytest.raises(StagingFailed) as failed:
        await world.run("stage", app)
    assert str(failed.value) == (
        "staging failed: STG: Exited with status 222 (NoAppDetectedError); buildpacks tried: script, python,"
        " static; name the right one with --buildpack"
    )
    assert world.cell.known_tasks == {}


async def test_an_app_no_buildpack_wants(world: World, app: Path, tmp_path: Path) -> None:
    """NoAppDetected names the buildpacks that were tried, also those of the command line."""
    mine = tmp_path / "mine"
    (mine / "bin").mkdir(parents=True)
    world.cell.failure = "STG: Exited with status 222"
    with pytest.raises(StagingFailed, match=r"buildpacks tried: mine, https://example\.com/b\.zip;"):
        await world.run("stage", app, "-b", mine, "-b", "https://example.com/b.zip", "--detect")
    world.cell.failure = "STG: Exited with status 223"
    with pytest.raises(StagingFailed, match=r"\(BuildpackCompileFailed\)$"):
        await world.run("stage", app, "-b", mine)


async def test_a_procfile_that_will_fail_is_shown_with_its_line(
    world: World, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The builder does not say where a Procfile is wrong; the command does, before it uploads."""
    (app / "Procfile").write_text("web: ./run\n\tworker: ./work\n")
    await world.run("stage", app)
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"Warning: {app}/Procfile cannot be read: line 2, column 1: found a tab")


async def test_an_interrupted_staging_is_taken_back(world: World, app: Path) -> None:
    world.cell.stuck = True
    staging = asyncio.create_task(world.run("stage", app))
    async with asyncio.timeout(PATIENCE_S):
        await world.cell.has_task.wait()
        staging.cancel()
        await asyncio.wait([staging])
    assert staging.cancelled()
    assert world.cell.known_tasks == {}


async def test_a_push_and_one_that_replaces_it(world: World, app: Path) -> None:
    assert json.loads(await world.run("push", app))["state"] == "RUNNING"
    (first,) = world.cell.desired.values()
    assert (await find_app(world.at.bbs, "shop")) == first

    rows = (await world.run("push", app, "-i", "2")).splitlines()
    assert [json.loads(row)["index"] for row in rows] == [0, 1]
    (second,) = world.cell.desired.values()
    assert second.log_guid == first.log_guid
    assert second.process_guid != first.process_guid


async def test_a_version_that_crashes_goes_and_the_one_before_stays(world: World, app: Path) -> None:
    await world.run("push", app)
    before = dict(world.cell.desired)
    world.cell.crash = "APP/PROC/WEB: Exited with status 4"
    with pytest.raises(CommandFailed) as failed:
        await world.run("push", app)
    first, *_, last = str(failed.value).splitlines()
    assert first == "start unsuccessful: instance 0 crashed: APP/PROC/WEB: Exited with status 4"
    assert "   [APP/PROC/WEB/0] no use" in str(failed.value)
    assert last == "The version before goes on."
    assert world.cell.desired == before


async def test_a_worker_is_not_waited_for_in_silence(
    world: World, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An app that listens on no port: what is awaited is said at once, and what helps at the end."""
    world.cell.crash = "APP/PROC/WEB: Instance never healthy after 1m0s: connection refused"
    with pytest.raises(CommandFailed) as failed:
        await world.run("push", app)
    awaited = "Waiting up to 60 s for a listener on port 8080; an app that listens on no port needs"
    assert f"{awaited} --health-check process\n" in capsys.readouterr().err
    assert str(failed.value).splitlines()[-1] == (
        "An app that listens on no port, such as a worker, needs --health-check process."
    )
    with pytest.raises(CommandFailed) as failed:
        await world.run("push", app, "-u", "process")
    assert "--health-check" not in str(failed.value)


async def test_waiting_says_how_far_it_is(
    world: World, app: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cell.apps.running.PROGRESS_INTERVAL_S", 0.0)
    polled = iter(["CLAIMED", "CLAIMED", "CLAIMED"])
    world.cell.state = lambda: next(polled, "RUNNING")
    await world.run("push", app)
    assert "   0 of 1 running after 0 s\n" in capsys.readouterr().err


async def test_an_address_is_printed_where_something_listens(world: World, app: Path) -> None:
    """A worker has no address that leads nowhere; an app that listens has one."""
    world.at.output.for_people = True
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        world.cell.address = ("127.0.0.1", port)
        assert f"shop/0 RUNNING http://127.0.0.1:{port}/" in await world.run("push", app)
    said = await world.run("push", app, "-u", "process")
    assert "shop/0 RUNNING (nothing listens on port 8080)" in said


async def test_apps_are_scaled_and_deleted_by_name(world: World, app: Path) -> None:
    await world.run("push", app, "-n", "other name")
    await world.run("scale", "other name", "3")
    assert [lrp.instances for lrp in world.cell.desired.values()] == [3]
    await world.run("delete", "other name")
    assert world.cell.desired == {}
    with pytest.raises(BBSError) as refused:
        await world.run("delete", "other name")
    assert refused.value.type is ErrorType.ResourceNotFound


async def test_nobody_of_that_name(world: World, app: Path) -> None:
    await world.run("push", app)
    with pytest.raises(CommandFailed, match="no app or LRP is named 'shp'; apps: shop"):
        await find_app(world.at.bbs, "shp")


async def test_a_droplet_with_other_types_only(world: World, app: Path) -> None:
    """A worker's Procfile without web: its types are shown, with the flags that run one."""
    world.cell.result = json.dumps({**RESULT, "process_types": {"worker": "./work"}})
    with pytest.raises(CommandFailed) as failed:
        await world.run("push", app)
    assert "no process type web: give the command that starts it with --command" in str(failed.value)
    assert str(failed.value).endswith(
        "--health-check process if it listens on no port. Its types:\n   worker: ./work"
    )


async def test_a_droplet_without_a_start_command(world: World, app: Path) -> None:
    world.cell.result = json.dumps({**RESULT, "process_types": None})
    with pytest.raises(CommandFailed, match="--command"):
        await world.run("push", app)
    await world.run("push", app, "-c", "./start")
    (lrp,) = world.cell.desired.values()
    assert "args=('app', './start', '')" in repr(lrp.action)


@pytest.mark.parametrize("form", [[], ["--classic"]])
async def test_an_image(world: World, form: list[str]) -> None:
    metadata = {"user": "app", "ports": [{"Port": 9000, "Protocol": "tcp"}]}
    world.cell.result = json.dumps(
        {"execution_metadata": json.dumps(metadata), "process_types": {"web": "x"}}
    )
    await world.run("push", "--docker-image", "team/web:v1", *form)
    (lrp,) = world.cell.desired.values()
    assert (lrp.root_fs, lrp.ports) == ("docker:///team/web#v1", (9000, 2222))
    assert (await find_app(world.at.bbs, "web")) == lrp


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "either the folder of an app or --docker-image"),
        (["/nonexistent"], "/nonexistent does not exist"),
        (["--docker-image", "a/b", "-b", "x"], "an image is not staged with buildpacks"),
        (["--docker-image", "http://x/y"], "should not contain scheme"),
        (["x", "--classic", "-u", "http"], "no http health check"),
    ],
)
async def test_what_cannot_be_pushed(world: World, words: list[str], text: str) -> None:
    with pytest.raises(BadArguments, match=text):
        await world.run("push", *words)
    assert world.cell.staged == []


async def test_only_a_cell_dev_has_a_file_server(world: World, app: Path) -> None:
    elsewhere = Session(Target(bbs_url="http://bbs", origin="BBS_URL"), world.at.output, world.at.bbs)
    with pytest.raises(BadArguments, match="BBS_URL names only a BBS"):
        await replace(world, at=elsewhere).run("stage", app)
