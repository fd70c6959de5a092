"""A cell is killed and stopped while an app writes: its log has each line once and in order."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import pytest
from docker import APIClient

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import RunAction
from bbs.models.task import TaskDefinition, TaskState
from cell.development.local import local_cell
from cell.development.slots import take_slots
from tests.support.inside import Inside
from tests.support.local_reps import QUICK, LocalRep
from tests.support.waiting import until_so

pytestmark = pytest.mark.docker

ENDS = ("kill", "stop", "kill", "kill", "stop")
ARGUMENTS = ["--cells", "0", "--convergence-interval", "3600"]
"""Without convergence: the control plane does not miss a killed cell."""
LINES = 2000
"""At least so many are written between two ends."""

WRITES = """
i=0
while [ ! -e /tmp/end ]; do
    seq $i $((i + 199))
    seq $i 10 $((i + 199)) >&2
    i=$((i + 200))
    sleep 0.05
done
echo -n $i
"""


class Log:
    """The lines in a file, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = 0
        self.lines: defaultdict[str, list[str]] = defaultdict(list)

    def read(self) -> int:
        """Read the new lines; returns how many there are."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
            complete = data[: data.rfind(b"\n") + 1]
            self._read_to += len(complete)
            for text in complete.splitlines():
                line = json.loads(text)
                if "offset" in line:  # not the cell's own
                    self.lines[line["stream"]].append(line["message"])
        return len(self.lines["OUT"])


@pytest.fixture
def client(docker_client: APIClient) -> APIClient:
    return docker_client


async def test_each_line_is_logged_once(tmp_path: Path, client: APIClient) -> None:
    log = Log(tmp_path / "app.log")
    settings = {**QUICK, "on_stop": "hand-over", "log_sinks": [f"file:{tmp_path / 'app.log'}"]}
    definition = TaskDefinition(
        root_fs="preloaded:busybox",
        log_guid="app",
        log_source="TASK",
        action=RunAction(path="sh", args=("-c", WRITES), user="root"),
    )
    async with local_cell(tmp_path, arguments=ARGUMENTS) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, tmp_path / slot.cell_id, settings=settings)
            async with rep.running(), HTTPBBSClient(plane.endpoints["bbs"]) as bbs:
                await bbs.desire_task("logged", "d", definition)
                for end in ENDS:

                    async def logged(least: int = log.read() + LINES) -> bool:
                        return log.read() >= least

                    await until_so(logged)
                    await (rep.kill() if end == "kill" else rep.stop())
                    await rep.start()
                Inside(client, rep.cell_id).run("logged", "touch", "/tmp/end")

                async def done() -> bool:
                    return (await bbs.task("logged")).state is TaskState.Completed

                await until_so(done)
                assert not (await bbs.task("logged")).failed

                async def all_logged() -> bool:
                    log.read()
                    return log.lines["OUT"][-1].endswith("Exit status 0")

                await until_so(all_logged)
            spool = rep.config.parent / "state" / "spool"
            assert list(spool.iterdir()) == []
    *numbers, last = log.lines["OUT"]
    count = int(last.removesuffix("Exit status 0"))
    assert numbers == [str(number) for number in range(count)]
    assert log.lines["ERR"] == [str(number) for number in range(0, count, 10)]
