"""A cell is killed, stopped and reloaded while an app writes: its log has each line once and in order."""

from __future__ import annotations

import json
import signal
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
from tests.support.waiting import until, until_so

pytestmark = pytest.mark.docker

STEPS = ("kill", "reload", "kill", "stop", "reload", "stop", "kill")
"""A reload sends the lines to another file."""
ARGUMENTS = ["--cells", "0", "--convergence-interval", "3600"]
"""Without convergence: the control plane does not miss a killed cell."""
LINES = 2000
"""At least so many are written between two steps."""

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
    """The lines in files, read as they grow. The lines of a file come after those of the files before it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_to: list[int] = []
        self._found: list[dict[str, list[str]]] = []
        self.add()

    @property
    def sink(self) -> str:
        """The target of the last file."""
        return f"file:{self._path(len(self._found) - 1)}"

    def add(self) -> None:
        """One more file."""
        self._read_to.append(0)
        self._found.append(defaultdict(list))

    def lines(self, stream: str) -> list[str]:
        return [line for found in self._found for line in found[stream]]

    def read(self) -> int:
        """Read the new lines; returns how many there are."""
        for number, found in enumerate(self._found):
            with suppress(FileNotFoundError), self._path(number).open("rb") as file:
                file.seek(self._read_to[number])
                data = file.read()
                complete = data[: data.rfind(b"\n") + 1]
                self._read_to[number] += len(complete)
                for text in complete.splitlines():
                    line = json.loads(text)
                    if "offset" in line:  # not the cell's own
                        found[line["stream"]].append(line["message"])
        return len(self.lines("OUT"))

    def _path(self, number: int) -> Path:
        return self._folder / f"app{number}.log"


async def reload(rep: LocalRep, sink: str) -> None:
    """Have the cell log to ``sink`` only."""

    def reloads() -> int:
        return rep.log.read_text().count('"rep.reloaded"')

    before = reloads()
    rep.config.write_text(json.dumps({**json.loads(rep.config.read_text()), "log_sinks": [sink]}))
    rep.signal(signal.SIGHUP)
    await until(lambda: reloads() > before)


@pytest.fixture
def client(docker_client: APIClient) -> APIClient:
    return docker_client


async def test_each_line_is_logged_once(tmp_path: Path, client: APIClient) -> None:
    log = Log(tmp_path)
    settings = {**QUICK, "on_stop": "hand-over", "log_sinks": [log.sink]}
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
                for step in STEPS:

                    async def logged(least: int = log.read() + LINES) -> bool:
                        return log.read() >= least

                    await until_so(logged)
                    if step == "reload":
                        log.add()
                        await reload(rep, log.sink)
                    else:
                        await (rep.kill() if step == "kill" else rep.stop())
                        await rep.start()
                Inside(client, rep.cell_id).run("logged", "touch", "/tmp/end")

                async def done() -> bool:
                    return (await bbs.task("logged")).state is TaskState.Completed

                await until_so(done)
                assert not (await bbs.task("logged")).failed

                async def all_logged() -> bool:
                    log.read()
                    return log.lines("OUT")[-1].endswith("Exit status 0")

                await until_so(all_logged)
            spool = rep.config.parent / "state" / "spool"
            assert list(spool.iterdir()) == []
    *numbers, last = log.lines("OUT")
    count = int(last.removesuffix("Exit status 0"))
    assert numbers == [str(number) for number in range(count)]
    assert log.lines("ERR") == [str(number) for number in range(0, count, 10)]
