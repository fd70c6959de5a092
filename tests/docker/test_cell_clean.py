"""`cell clean`: what a killed cell has left on the machine goes, and a running cell is left alone."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import closing
from pathlib import Path

import docker
import psutil
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.task import TaskDefinition
from cell.development.local import local_cell
from cell.development.slots import take_slots
from cell.main import main
from tests.support.inside import Inside
from tests.support.local_reps import QUICK, LocalRep
from tests.support.waiting import until

pytestmark = pytest.mark.docker

TASK = TaskDefinition(root_fs="preloaded:busybox", action=RunAction(path="sleep", args=("600",), user="root"))


def table_exists(name: str) -> bool:
    listing = ["nft", "list", "table", "inet", name]
    return subprocess.run(listing, capture_output=True, check=False).returncode == 0


async def test_a_killed_cell_leaves_nothing_and_a_running_one_is_spared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plane_arguments = ["--cells", "0", "--convergence-interval", "3600"]
    async with local_cell(tmp_path, arguments=plane_arguments) as plane:
        with take_slots(1) as (slot,), closing(docker.APIClient(version="auto")) as client:
            rep = LocalRep(plane, slot, tmp_path / slot.cell_id, settings=QUICK)
            inside = Inside(client, rep.cell_id)
            words = ["clean", "--config", str(rep.config)]
            await rep.start()
            try:
                async with HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                    await bbs.desire_task("a-task", "d", TASK)
                await until(lambda: "a-task" in inside.ids(), "the container")
                assert await asyncio.to_thread(main, words) == 1
                assert "is in use by another cell" in capsys.readouterr().err
                assert "a-task" in inside.ids()
                assert table_exists(slot.nft_table)
            finally:
                await rep.kill()
                status = await asyncio.to_thread(main, words)
            assert (status, "container removed: a-task" in capsys.readouterr().out) == (0, True)
            assert inside.ids() == {}
            assert not table_exists(slot.nft_table)
            assert slot.network_name not in psutil.net_if_addrs()
