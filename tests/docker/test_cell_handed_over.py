"""A real cell is stopped and started again: its containers and its presence are handed over."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import docker
import pytest
from docker import APIClient

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import TaskDefinition, TaskState
from cell.development.local import LocalCellError, local_cell
from cell.development.slots import take_slots
from tests.support.inside import Inside
from tests.support.local_reps import QUICK, LocalRep
from tests.support.thorough import THOROUGH
from tests.support.waiting import until_so

pytestmark = pytest.mark.docker

SETTINGS = {**QUICK, "on_stop": "hand-over"}


def shell(script: str) -> RunAction:
    return RunAction(path="sh", args=("-c", script), user="root")


WEB = DesiredLRP(
    process_guid="web",
    domain="d",
    root_fs="preloaded:busybox",
    instances=1,
    ports=(8080,),
    metric_tags={"source_id": MetricTagValue(static="web")},
    action=shell("exec httpd -f -p 8080 -h /tmp"),
)
UNTIL_ASKED = TaskDefinition(
    root_fs="preloaded:busybox",
    action=shell("while [ ! -e /tmp/end ]; do sleep 0.1; done; echo 42 >/tmp/result"),
    result_file="/tmp/result",
)


NEWER_VERSION = """
from executor.journal import schema

schema.MIGRATIONS = (*schema.MIGRATIONS, ("CREATE TABLE more (name TEXT)",))
schema.SCHEMA_VERSION = len(schema.MIGRATIONS)
"""


@pytest.fixture
def client() -> Iterator[APIClient]:
    with closing(docker.APIClient(version="auto")) as found:
        yield found


@asynccontextmanager
async def a_cell(folder: Path) -> AsyncIterator[tuple[LocalRep, HTTPBBSClient]]:
    """A cell under a control plane that looks every second for lost cells."""
    async with local_cell(folder, arguments=["--cells", "0", "--convergence-interval", "1"]) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, folder / slot.cell_id, settings=SETTINGS)
            keys = json.loads(rep.config.read_text())
            async with HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                try:
                    yield rep, bbs
                finally:
                    await rep.stop()
                    rep.config.write_text(json.dumps({**keys, "on_stop": "destroy"}))
                    await rep.start()
                    assert await rep.stop() == 0, rep.log_tail()


async def gaps(bbs: HTTPBBSClient, cell_id: str) -> int:
    """Watch the cells of the BBS until cancelled; how often this one was missing."""
    missing = 0
    try:
        while True:
            missing += cell_id not in {cell.cell_id for cell in await bbs.cells()}
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return missing


async def instance(bbs: HTTPBBSClient) -> ActualLRP:
    (row,) = await bbs.actual_lrps(process_guid="web")
    return row


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_restart_of_the_rep_is_none_of_the_instance(
    tmp_path: Path, client: APIClient, signum: signal.Signals
) -> None:
    async with a_cell(tmp_path) as (rep, bbs):
        await rep.start()
        await bbs.desire_lrp(WEB)
        await bbs.desire_task("handed-over-sum", "d", UNTIL_ASKED)

        async def both_run() -> bool:
            rows = await bbs.actual_lrps(process_guid="web")
            is_up = [row.state for row in rows] == ["RUNNING"]
            # the programs and their parents
            return is_up and list(map(len, inside.pids().values())) == [2, 2]

        inside = Inside(client, rep.cell_id)
        await until_so(both_run)
        before, ids, pids = await instance(bbs), inside.ids(), inside.pids()
        watching = asyncio.create_task(gaps(bbs, rep.cell_id))
        for _ in range(2):
            rep.signal(signum)
            assert await rep.ended() == (-signum if signum is signal.SIGKILL else 0), rep.log_tail()
            assert (inside.ids(), inside.pids()) == (ids, pids), "without a rep"
            await rep.start()
        watching.cancel()
        assert await watching == 0
        assert (inside.ids(), inside.pids()) == (ids, pids)
        assert await instance(bbs) == before

        inside.run("handed-over-sum", "touch", "/tmp/end")

        async def done() -> bool:
            return (await bbs.task("handed-over-sum")).state is TaskState.Completed

        await until_so(done)
        task = await bbs.task("handed-over-sum")
        assert (task.failed, task.result) == (False, "42\n")
        await bbs.remove_desired_lrp("web")

        async def empty() -> bool:
            return inside.ids() == {}

        await until_so(empty)


def log_of(rep: LocalRep) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rep.log.read_text().splitlines()]


@pytest.mark.parametrize("what", ["port-in-use", "locket-away"] if THOROUGH else ["port-in-use"])
async def test_a_start_that_fails_leaves_the_containers_alone(
    tmp_path: Path, client: APIClient, what: str
) -> None:
    """Before the adoption of the containers, because Locket is away, or after it, because of a listener."""
    async with a_cell(tmp_path) as (rep, bbs):
        await rep.start()
        await bbs.desire_task("handed-over-sum", "d", UNTIL_ASKED)
        inside = Inside(client, rep.cell_id)

        async def runs() -> bool:
            return list(map(len, inside.pids().values())) == [2]  # the program and its parent

        await until_so(runs)
        ids, pids = inside.ids(), inside.pids()
        await rep.kill()
        good = rep.config.read_text()
        with socket.create_server(("127.0.0.1", 0)) as other:
            in_use = f"127.0.0.1:{other.getsockname()[1]}"
            changes, error = {
                "port-in-use": ({"listen_addr_securable": in_use}, "address already in use"),
                "locket-away": ({"locket_address": "127.0.0.1:1"}, "no connection to 127"),
            }[what]
            rep.config.write_text(json.dumps({**json.loads(good), **changes}))
            with pytest.raises(LocalCellError, match=error):
                await rep.start()
        assert await rep.ended() == 1
        assert (inside.ids(), inside.pids()) == (ids, pids)
        rep.config.write_text(good)
        await rep.start()
        assert (inside.ids(), inside.pids()) == (ids, pids)
        await bbs.cancel_task("handed-over-sum")

        async def empty() -> bool:
            return inside.ids() == {}

        await until_so(empty)


async def test_an_upgrade_and_the_way_back(tmp_path: Path, client: APIClient) -> None:
    """The newer version has another schema of the journal."""
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "sitecustomize.py").write_text(NEWER_VERSION)
    environment = {"PYTHONPATH": str(newer)}
    async with a_cell(tmp_path) as (rep, bbs):
        await rep.start()
        await bbs.desire_task("handed-over-sum", "d", UNTIL_ASKED)
        inside = Inside(client, rep.cell_id)

        async def runs() -> bool:
            return list(map(len, inside.pids().values())) == [2]

        await until_so(runs)
        ids, pids = inside.ids(), inside.pids()
        assert await rep.stop() == 0
        await rep.start(environment)
        assert (inside.ids(), inside.pids()) == (ids, pids)

        assert await rep.stop() == 0
        with pytest.raises(LocalCellError, match="drain the cell with it and then move the file away"):
            await rep.start()
        assert await rep.ended() == 2
        assert (inside.ids(), inside.pids()) == (ids, pids)

        await rep.start(environment)
        await rep.evacuate()
        inside.run("handed-over-sum", "touch", "/tmp/end")
        assert await rep.ended() == 0
        assert (await bbs.task("handed-over-sum")).result == "42\n"
        state = rep.config.parent / "state"
        (state / "journal").rename(state / "newer-journal")
        await rep.start()


async def test_a_reload_of_a_running_cell(tmp_path: Path) -> None:
    async with a_cell(tmp_path) as (rep, _):
        await rep.start()
        good = json.loads(rep.config.read_text())

        async def logged(message: str) -> dict[str, Any]:
            rep.signal(signal.SIGHUP)

            async def is_there() -> bool:
                return any(entry["message"] == message for entry in log_of(rep))

            await until_so(is_there)
            return next(entry["data"] for entry in reversed(log_of(rep)) if entry["message"] == message)

        rep.config.write_text(json.dumps({**good, "log_level": 3}))
        refused = await logged("rep.reload-refused")
        assert '"log_level"' in refused["error"]
        rep.config.write_text(json.dumps({**good, "time_format": "rfc3339", "network_mtu": 1400}))
        assert await logged("rep.reloaded") == {
            "in-use": ["time_format"],
            "need-a-restart": ["network_mtu"],
            "why": "they are used at the start only",
        }

        async def is_in_use() -> bool:
            return "T" in log_of(rep)[-1]["timestamp"]

        await until_so(is_in_use)


async def test_a_restart_goes_on_with_an_evacuation(tmp_path: Path, client: APIClient) -> None:
    async with a_cell(tmp_path) as (rep, bbs):
        await rep.start()
        await bbs.desire_task("handed-over-sum", "d", UNTIL_ASKED)

        async def runs() -> bool:
            return list(map(len, inside.pids().values())) == [2]  # the program and its parent

        inside = Inside(client, rep.cell_id)
        await until_so(runs)
        ids = inside.ids()
        await rep.evacuate()
        rep.signal(signal.SIGTERM)
        assert await rep.ended() == 0, rep.log_tail()
        assert inside.ids() == ids
        await rep.start()
        inside.run("handed-over-sum", "touch", "/tmp/end")
        assert await rep.ended() == 0, rep.log_tail()
        task = await bbs.task("handed-over-sum")
        assert (task.state, task.failed, task.result) == (TaskState.Completed, False, "42\n")
        assert inside.ids() == {}
        assert rep.cell_id not in {cell.cell_id for cell in await bbs.cells()}
        assert not Path(f"/sys/class/net/{rep.network_name}").exists()
