"""Containers without a record: listed, spared for a time, and removed, with and without a rep."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import docker
import pytest
from docker import APIClient
from docker.errors import APIError

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.task import TaskDefinition
from cell.development.local import local_cell
from cell.development.slots import take_slots
from cell.main import main
from tests.support.inside import Inside
from tests.support.local_reps import QUICK, LocalRep
from tests.support.waiting import until_so

pytestmark = pytest.mark.docker

TASK = TaskDefinition(root_fs="preloaded:busybox", action=RunAction(path="sleep", args=("600",), user="root"))


@pytest.fixture
def client() -> Iterator[APIClient]:
    with closing(docker.APIClient(version="auto")) as found:
        yield found


@asynccontextmanager
async def a_cell_with_an_orphan(folder: Path, client: APIClient) -> AsyncIterator[tuple[LocalRep, Inside]]:
    """A cell that was killed, with two Tasks; the record of one of them is lost."""
    async with local_cell(folder, arguments=["--cells", "0", "--convergence-interval", "3600"]) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, folder / slot.cell_id, settings=QUICK)
            inside = Inside(client, rep.cell_id)
            try:
                await rep.start()
                async with HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                    for guid in ("kept", "lost"):
                        await bbs.desire_task(guid, "d", TASK)

                async def both_run() -> bool:
                    """A creation that is not over would be repeated at the next start."""
                    ids = inside.ids()
                    return set(ids) == {"kept", "lost"} and all(map(sleeps, ids.values()))

                def sleeps(engine_id: str) -> bool:
                    try:
                        commands = [row[-1].split() for row in client.top(engine_id)["Processes"]]
                    except APIError:  # not started yet
                        return False
                    return any(len(words) == 2 and words[0].endswith("sleep") for words in commands)

                await until_so(both_run)
                await rep.kill()
                journal = rep.config.parent / "state" / "journal" / "journal.db"
                with closing(sqlite3.connect(journal)) as connection, connection:
                    for table in ("containers", "steps"):
                        connection.execute(f"DELETE FROM {table} WHERE guid = 'lost'")
                yield rep, inside
            finally:
                if "lost" in inside.ids():
                    client.remove_container(inside.ids()["lost"], force=True, v=True)
                await rep.kill()
                await rep.start()
                assert await rep.stop() == 0, rep.log_tail()


def listed(rep: LocalRep, capsys: pytest.CaptureFixture[str], *options: str) -> list[tuple[str, bool]]:
    """The guids of the orphans, and whether a rep will remove them."""
    capsys.readouterr()
    assert main(["orphans", "--config", str(rep.config), "--json", *options]) == 0
    rows = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert all(row["created_at"] > 0 for row in rows)
    return [(row["container_guid"], row["removed_in_s"] is not None) for row in rows]


@pytest.mark.parametrize("with_rep", [False, True])
async def test_an_orphan_is_listed_and_removed(
    tmp_path: Path, client: APIClient, capsys: pytest.CaptureFixture[str], with_rep: bool
) -> None:
    async with a_cell_with_an_orphan(tmp_path, client) as (rep, inside):
        if with_rep:
            await rep.start()
        assert await asyncio.to_thread(listed, rep, capsys) == [("lost", with_rep)]
        assert set(inside.ids()) == {"kept", "lost"}
        assert await asyncio.to_thread(listed, rep, capsys, "--remove") == [("lost", with_rep)]
        assert set(inside.ids()) == {"kept"}
        assert await asyncio.to_thread(listed, rep, capsys) == []
        if with_rep:
            await rep.kill()


async def test_a_rep_that_hangs_is_not_taken_for_none(
    tmp_path: Path, client: APIClient, capsys: pytest.CaptureFixture[str]
) -> None:
    async with a_cell_with_an_orphan(tmp_path, client) as (rep, _):
        await rep.start()
        config = json.loads(rep.config.read_text())
        elsewhere = rep.config.with_name("elsewhere.json")
        elsewhere.write_text(json.dumps({**config, "listen_addr": "127.0.0.1:1"}))
        words = ["orphans", "--config", str(elsewhere), "--remove"]
        assert await asyncio.to_thread(main, words) == 1
        assert f"its rep (process {rep.pid}) runs, but does not answer" in capsys.readouterr().err
        rep.signal(signal.SIGKILL)
        await rep.ended()
