"""The commands that call a BBS, as processes against a running `cell dev`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cell.development.local import LocalCell, local_cell
from tests.support.programs import CellProcess, start_cell
from tests.support.thorough import THOROUGH

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

TIMEOUT_S = 60

RUN: dict[str, Any] = {"rootfs": "preloaded:busybox", "domain": "client", "memory_mb": 32, "disk_mb": 32}
WEB = {
    **RUN,
    "process_guid": "client-web",
    "instances": 1,
    "ports": [8080],
    "action": {"run": {"path": "/bin/sh", "args": ["-c", "httpd -f -p 8080 -h /etc"], "user": "vcap"}},
}
BUILD = {
    **RUN,
    "task_guid": "client-build",
    "result_file": "/tmp/r",
    "action": {"run": {"path": "/bin/sh", "args": ["-c", "id -un > /tmp/r"], "user": "vcap"}},
}


@dataclass(frozen=True)
class Ended:
    status: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


class Shell:
    """``cell ARGUMENTS`` of the cell in ``state_dir``."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    async def start(self, *arguments: str) -> CellProcess:
        return await start_cell(*arguments, "--state-dir", str(self._state_dir))

    async def __call__(self, *arguments: str, stdin: object = None) -> Ended:
        process = await self.start(*arguments)
        async with asyncio.timeout(TIMEOUT_S):
            stdout, stderr = await process.communicate(json.dumps(stdin).encode())
        assert process.returncode is not None
        return Ended(process.returncode, stdout.decode(), stderr.decode())

    async def well(self, *arguments: str, stdin: object = None) -> Ended:
        ended = await self(*arguments, stdin=stdin)
        assert (ended.status, ended.stderr) == (0, "")
        return ended

    async def until(
        self, holds: Callable[[list[dict[str, Any]]], bool], *arguments: str
    ) -> list[dict[str, Any]]:
        """Repeat the command, in a new process each time, until its answer is right."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds(objects := (await self.well(*arguments)).objects):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return objects


class Events:
    """What a running ``cell events`` prints."""

    def __init__(self, process: CellProcess) -> None:
        self._process = process
        self._stdout, self._stderr = process.stdout, process.stderr

    async def subscribed(self) -> None:
        assert b"following" in await self._stderr.readline()

    async def next(self, holds: Callable[[str, dict[str, Any]], bool]) -> dict[str, Any]:
        """The next one for which it holds, of its type and data; others are passed over."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                event = json.loads(await self._stdout.readline())
                if holds(event["type"], event["data"]):
                    data: dict[str, Any] = event["data"]
                    return data

    async def interrupted(self) -> int:
        self._process.send_signal(signal.SIGINT)
        await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["plain", "tls"] if THOROUGH else ["tls"])
async def cell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalCell]:
    arguments = ["--tls"] if request.param == "tls" else []
    async with local_cell(tmp_path_factory.mktemp("cell"), arguments=arguments) as running:
        yield running


@pytest.fixture
def shell(cell: LocalCell) -> Shell:
    return Shell(cell.state_dir)


def _states(rows: list[dict[str, Any]]) -> list[str]:
    return [row["state"] for row in rows]


async def test_an_lrp_from_desire_to_delete(shell: Shell) -> None:
    events = Events(await shell.start("events", "--lrps", "--json"))
    await events.subscribed()

    await shell.well("desire", "-", stdin=WEB)
    created = await events.next(lambda kind, _: kind == "desired_lrp_created")
    assert created["desired_lrp"]["process_guid"] == "client-web"
    await events.next(
        lambda kind, data: kind == "actual_lrp_instance_changed" and data["after"]["state"] == "RUNNING"
    )
    (row,) = (await shell.well("lrps", "client-web")).objects
    assert (row["state"], row["ports"][0]["container_port"]) == ("RUNNING", 8080)
    again = await shell("desire", "-", stdin=WEB)
    assert (again.status, again.stderr.splitlines()[1]) == (4, "Type 12: ResourceExists")

    await shell.well("scale", "client-web", "2")
    rows = await shell.until(lambda rows: _states(rows) == ["RUNNING"] * 2, "lrps", "client-web")
    await shell.well("stop", "client-web", "1")
    removed = await events.next(lambda kind, _: kind == "actual_lrp_instance_removed")
    assert removed["actual_lrp"]["instance_guid"] == rows[1]["instance_guid"]

    table = (await shell.well("lrps", "--desired", "client-web", "--table")).stdout.splitlines()
    assert table[1].split() == ["client-web", "client", "2", "32M", "32M", "8080", "preloaded:busybox"]

    await shell.well("delete", "client-web")
    await shell.until(lambda rows: rows == [], "lrps", "client-web")
    gone = await shell("delete", "client-web")
    assert (gone.status, gone.stderr.splitlines()[1]) == (4, "Type 13: ResourceNotFound")
    assert await events.interrupted() == 0


async def test_a_task_to_its_end(shell: Shell) -> None:
    events = Events(await shell.start("events", "--tasks", "--json"))
    await events.subscribed()
    await shell.well("task", "-", stdin=BUILD)
    await events.next(lambda kind, data: kind == "task_changed" and data["after"]["state"] == "Completed")
    (task,) = (await shell.well("tasks", "client-build")).objects
    assert (task["failed"], task["result"]) == (False, "vcap\n")
    await shell.well("delete", "--task", "client-build")
    assert (await shell("tasks", "client-build")).status == 4
    assert await events.interrupted() == 0


async def test_a_task_is_cancelled(shell: Shell) -> None:
    sleep = {"run": {"path": "/bin/sleep", "args": ["60"], "user": "vcap"}}
    await shell.well("task", "-", stdin={**BUILD, "task_guid": "client-sleep", "action": sleep})
    await shell.until(lambda tasks: _states(tasks) == ["Running"], "tasks", "client-sleep")
    await shell.well("stop", "--task", "client-sleep")
    (task,) = (await shell.well("tasks", "client-sleep")).objects
    assert (task["failed"], task["failure_reason"]) == (True, "task was cancelled")
    await shell.well("delete", "--task", "client-sleep")


async def test_cells_domains_and_presences(shell: Shell, cell: LocalCell) -> None:
    cell_id = cell.cells[0]["cell_id"]
    (presence,) = (await shell.well("cells")).objects
    assert (presence["cell_id"], presence["rep_url"]) == (cell_id, cell.cells[0]["network"])
    (state,) = (await shell.well("cells", cell_id, "--state")).objects
    assert (state["cell_id"], state["Evacuating"]) == (cell_id, False)
    (held,) = (await shell.well("presences")).objects
    assert (held["key"], held["type"]) == (cell_id, "presence")
    await shell.well("domains", "--set", "client", "--ttl", "1m")
    assert '"client"' in (await shell.well("domains")).stdout.splitlines()
