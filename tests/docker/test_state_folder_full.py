"""The disk of the state folder fills up while an app floods: apps and cell go on, and the cell recovers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from docker import APIClient

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.task import TaskDefinition, TaskState
from cell.development.local import local_cell
from cell.development.slots import take_slots
from tests.support.inside import Inside
from tests.support.local_reps import QUICK, LocalRep
from tests.support.smalldisks import SmallDisk, small_disk
from tests.support.thorough import THOROUGH
from tests.support.waiting import until, until_so

pytestmark = pytest.mark.docker

SMALL, LARGE = "8m", "size=1g"
ARGUMENTS = ["--cells", "0", "--convergence-interval", "3600"]
"""Without convergence, a Task that a cell has rejected is not placed again."""
UNRECORDED = "the cell cannot write its journal"
FULL = f"{UNRECORDED}: the disk is full: free some space"

FLOOD = """
text=$(printf %2000s | tr ' ' x)
i=0
while [ ! -e /tmp/end ]; do
    awk -v i=$i -v text=$text 'BEGIN { for (n = 0; n < 200; n++) print i + n, text }'
    i=$((i + 200))
    sleep 0.02
done
echo -n $i
"""
"""Writes numbered lines until /tmp/end exists, then their number."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", SMALL) as made:
        yield made


def task(script: str) -> TaskDefinition:
    return TaskDefinition(
        root_fs="preloaded:busybox",
        log_guid="app",
        action=RunAction(path="sh", args=("-c", script), user="root"),
    )


def numbers(path: Path) -> list[int]:
    """The numbers that the flood wrote to a log file; the exit status follows the last one."""
    lines = map(json.loads, path.read_text().splitlines())
    return [int(line["message"].split()[0].removesuffix("Exit")) for line in lines if "offset" in line]


class Cell:
    """A cell, its health, and its component log."""

    def __init__(self, rep: LocalRep, bbs: HTTPBBSClient) -> None:
        self._rep = rep
        self._bbs = bbs

    async def healthy(self) -> bool:
        """Whether it offers itself for work."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._rep.network}/state") as answer:
            return answer.status == 200

    async def unhealthy(self) -> bool:
        return not await self.healthy()

    def logged(self, message: str) -> list[dict[str, object]]:
        """The data of the log entries with this message."""
        lines = self._rep.log.read_text().splitlines()
        return [json.loads(line)["data"] for line in lines if f'"rep.{message}"' in line]

    def sum_of(self, message: str, key: str) -> int:
        """The sum of a number in the log entries with this message."""
        return sum(int(str(entry[key])) for entry in self.logged(message))

    async def until_logged(self, message: str) -> None:
        await until(lambda: bool(self.logged(message)))

    async def until_rejected(self) -> None:
        """Give the cell Tasks until it rejects one, because it cannot record the container."""
        guids: list[str] = []

        async def rejected() -> bool:
            guids.append(f"refused-{len(guids)}")
            await self._bbs.desire_task(guids[-1], "d", task("true"))
            tasks = [await self._bbs.task(guid) for guid in guids]
            return any(UNRECORDED in task.rejection_reason for task in tasks)

        await until_so(rejected, pause_s=0.5)

    async def end_of(self, guid: str) -> str:
        """Wait for the end of a Task; returns why it failed."""

        async def done() -> bool:
            return (await self._bbs.task(guid)).state is TaskState.Completed

        await until_so(done)
        return (await self._bbs.task(guid)).failure_reason


@pytest.mark.parametrize("kill", [False, True] if THOROUGH else [False])
async def test_a_flood_fills_the_disk(
    tmp_path: Path, disk: SmallDisk, docker_client: APIClient, kill: bool
) -> None:
    """An app's log, the spools and the journal are on one disk, a second log on another.

    kill: of the cell meanwhile. The next process counts what it may have cost.
    """
    inside, outside = disk.place / "app.log", tmp_path / "app.log"
    settings = {
        **QUICK,
        "state_dir": str(disk.place / "state"),
        "log_sinks": [f"file:{outside}", f"file:{inside}"],
    }
    async with local_cell(tmp_path, arguments=ARGUMENTS) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, tmp_path / slot.cell_id, settings=settings)
            async with rep.running(), HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                cell = Cell(rep, bbs)
                await bbs.desire_task("flood", "d", task(FLOOD))
                await cell.until_logged("output-spool.unusable")
                with disk.kept_full():
                    await cell.until_rejected()
                    await until_so(cell.unhealthy)
                    assert str(cell.logged("journal.cannot-write")[0]["error"]).startswith(FULL)
                    await cell.until_logged("log-sink.dropped")
                    if kill:
                        await rep.kill()
                        await rep.start()
                await asyncio.to_thread(disk.remount, LARGE)
                await until_so(cell.healthy)
                # A sink that found its disk full tries again after a pause; until then it drops lines.
                await cell.until_logged("log-sink.available")
                await bbs.desire_task("accepted", "d", task("true"))
                assert await cell.end_of("accepted") == ""
                Inside(docker_client, rep.cell_id).run("flood", "touch", "/tmp/end")
                assert await cell.end_of("flood") == ""
    lost = cell.sum_of("output-spool.lost", "lines")
    *found, count = numbers(outside)
    assert found == sorted(set(found))
    assert count - len(found) <= lost
    *found, last = numbers(inside)
    assert found == sorted(set(found))
    assert last == count
    assert kill or len(found) + cell.sum_of("log-sink.dropped", "count") == count
