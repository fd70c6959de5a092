"""A cell is killed and started again: its instances and Tasks continue."""

from __future__ import annotations

import asyncio
import sqlite3
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
from bbs.models.workload import Check, CheckDefinition, Sidecar, TCPCheck
from cell.development.local import local_cell
from cell.development.slots import take_slots
from tests.support.inside import Inside
from tests.support.local_reps import QUICK, LocalRep
from tests.support.waiting import until_so

pytestmark = pytest.mark.docker

SERVE = "echo x >>/tmp/starts; exec httpd -f -p 8080 -h /tmp"
LRPS = ("checked", "watched", "plain")
KILLS = 3
REQUEST_S = 60.0
"""Limit of a request on a busy machine; a lost packet rule makes it hang."""


def shell(script: str) -> RunAction:
    return RunAction(path="sh", args=("-c", script), user="root")


LISTENS = shell("grep -q :1F90 /proc/net/tcp /proc/net/tcp6")


def lrp(guid: str, **settings: Any) -> DesiredLRP:
    return DesiredLRP(
        process_guid=guid,
        domain="d",
        root_fs="preloaded:busybox",
        instances=1,
        ports=(8080,),
        metric_tags={"source_id": MetricTagValue(static=guid)},
        action=shell(SERVE),
        **settings,
    )


@pytest.fixture
def client() -> Iterator[APIClient]:
    with closing(docker.APIClient(version="auto")) as found:
        yield found


class Visitor:
    """Connects to mapped ports again and again."""

    def __init__(self, targets: list[tuple[str, int]]) -> None:
        self._targets = targets
        self.succeeded = 0
        self.failures: list[str] = []

    async def _visit(self) -> None:
        while True:
            for host, port in self._targets:
                try:
                    async with asyncio.timeout(REQUEST_S):
                        answer = await self._ask(host, port)
                except (OSError, TimeoutError) as error:
                    self.failures.append(f"{port}: {error!r}")
                else:
                    self.succeeded += answer.endswith(b"x\n")
            await asyncio.sleep(0.01)

    @staticmethod
    async def _ask(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET /starts HTTP/1.0\r\n\r\n")
            return await reader.read()
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def visiting(self) -> AsyncIterator[None]:
        visits = asyncio.create_task(self._visit())
        try:
            yield
        finally:
            visits.cancel()
            await asyncio.wait({visits})


@asynccontextmanager
async def a_cell(folder: Path) -> AsyncIterator[tuple[LocalRep, HTTPBBSClient]]:
    # no convergence: the records stay as the cell's reports make them
    async with local_cell(folder, arguments=["--cells", "0", "--convergence-interval", "3600"]) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, folder / slot.cell_id, settings=QUICK)
            async with rep.running(), HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                yield rep, bbs


async def test_nothing_notices_the_death_of_its_cell(tmp_path: Path, client: APIClient) -> None:
    async with a_cell(tmp_path) as (rep, bbs):
        listening = CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080)),))
        await bbs.desire_lrp(lrp("checked", check_definition=listening))
        sidecar = Sidecar(action=shell("exec tail -f /dev/null"), memory_mb=8)
        await bbs.desire_lrp(lrp("watched", monitor=LISTENS, sidecars=(sidecar,)))
        await bbs.desire_lrp(lrp("plain"))
        waits = "while [ ! -e /tmp/end ]; do sleep 0.1; done"
        work = f"echo x >>/tmp/starts; {waits}; wc -l </tmp/starts >/tmp/result"
        definition = TaskDefinition(
            root_fs="preloaded:busybox", action=shell(work), result_file="/tmp/result"
        )
        await bbs.desire_task("killed-sum", "d", definition)

        async def all_run() -> bool:
            rows = [row for guid in LRPS for row in await bbs.actual_lrps(process_guid=guid)]
            running = [row for row in rows if row.state == "RUNNING"]
            return len(running) == len(LRPS) and (await bbs.task("killed-sum")).state is TaskState.Running

        await until_so(all_run)
        rows = [row for guid in LRPS for row in await bbs.actual_lrps(process_guid=guid)]
        inside = Inside(client, rep.cell_id)
        ids, pids = inside.ids(), inside.pids()
        assert len(ids) == len(LRPS) + 1
        assert sorted(map(len, pids.values())) == [2, 2, 2, 4]
        nets = [row.actual_lrp_net_info for row in rows]
        visitor = Visitor([(net.address, port.host_port) for net in nets for port in net.ports])
        async with visitor.visiting():
            for _ in range(KILLS):
                await rep.kill()
                before = visitor.succeeded

                async def visited(least: int = before + 100) -> bool:
                    return visitor.succeeded >= least

                await until_so(visited)  # without an agent
                await rep.start()
                await until_so(visited)
        assert visitor.failures == []
        assert inside.ids() == ids

        async def same_processes() -> bool:
            return inside.pids() == pids  # once the children for the last visits have ended

        await until_so(same_processes)
        assert await all_run()
        for row in rows:
            guid = row.actual_lrp_instance_key.instance_guid
            assert inside.run(guid, "cat", "/tmp/starts") == "x\n"
            (now,) = await bbs.actual_lrps(process_guid=row.actual_lrp_key.process_guid)
            assert now.crash_count == 0
            assert now.actual_lrp_instance_key == row.actual_lrp_instance_key

        inside.run("killed-sum", "touch", "/tmp/end")

        async def done() -> bool:
            return (await bbs.task("killed-sum")).state is TaskState.Completed

        await until_so(done)
        task = await bbs.task("killed-sum")
        assert (task.failed, task.failure_reason, task.result) == (False, "", "1\n")
        crashing = next(row for row in rows if row.actual_lrp_key.process_guid == "plain")
        inside.run(crashing.actual_lrp_instance_key.instance_guid, "sh", "-c", "kill -9 $(pidof httpd)")

        async def crashed() -> bool:
            (row,) = await bbs.actual_lrps(process_guid="plain")
            return row.crash_count == 1

        await until_so(crashed)
        for guid in LRPS:
            await bbs.remove_desired_lrp(guid)

        async def empty() -> bool:
            return inside.ids() == {}

        await until_so(empty)
        state = rep.config.parent / "state"

        assert await rep.stop() == 0
        with closing(sqlite3.connect(state / "journal" / "journal.db")) as journal:
            for table in ("containers", "steps"):
                assert journal.execute(f"SELECT * FROM {table}").fetchall() == []
        assert list((state / "engine" / "io").iterdir()) == []


async def test_what_happens_while_no_agent_runs_is_reported_once(tmp_path: Path, client: APIClient) -> None:
    async with a_cell(tmp_path) as (rep, bbs):
        for guid in ("removed", "exited", "stopped", "stays"):
            await bbs.desire_lrp(lrp(guid))
        script = "while [ ! -e /tmp/end ]; do sleep 0.1; done; echo -n 42 >/tmp/result"
        definition = TaskDefinition(
            root_fs="preloaded:busybox", action=shell(script), result_file="/tmp/result"
        )
        await bbs.desire_task("killed-sum", "d", definition)

        async def rows() -> dict[str, ActualLRP]:
            return {row.actual_lrp_key.process_guid: row for row in await bbs.actual_lrps(domain="d")}

        async def all_run() -> bool:
            found = await rows()
            running = [row for row in found.values() if row.state == "RUNNING"]
            return len(running) == 4 and (await bbs.task("killed-sum")).state is TaskState.Running

        await until_so(all_run)
        before = await rows()
        guids = {name: row.actual_lrp_instance_key.instance_guid for name, row in before.items()}
        inside = Inside(client, rep.cell_id)
        await rep.kill()
        inside.run("killed-sum", "touch", "/tmp/end")
        inside.run(guids["exited"], "sh", "-c", "kill -9 $(pidof httpd)")
        client.remove_container(inside.ids()[guids["removed"]], force=True)
        client.kill(inside.ids()[guids["stopped"]])
        await rep.start()

        async def all_replaced() -> bool:
            now = await rows()
            replaced = {
                name
                for name, row in now.items()
                if row.state == "RUNNING" and row.actual_lrp_instance_key.instance_guid != guids[name]
            }
            done = (await bbs.task("killed-sum")).state is TaskState.Completed
            return done and replaced == {"removed", "exited", "stopped"}

        await until_so(all_replaced)
        now = await rows()
        assert {name: row.crash_count for name, row in now.items()} == {
            "removed": 1,
            "exited": 1,
            "stopped": 1,
            "stays": 0,
        }
        assert now["stays"].actual_lrp_instance_key == before["stays"].actual_lrp_instance_key
        task = await bbs.task("killed-sum")
        assert (task.failed, task.result) == (False, "42")
        assert len(inside.ids()) == 4
        for guid in guids:
            await bbs.remove_desired_lrp(guid)
