"""Apps that write or start processes at full speed: their neighbours keep their speed."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from bbs.models.actions import CodependentAction, ParallelAction, RunAction
from bbs.models.workload import Check, CheckDefinition, TCPCheck
from executor.engine import processes
from executor.engine.processes import DESCRIPTORS
from executor.logs.api import LogLine
from executor.model import ContainerState, EventKind, LogConfig
from tests.support.thorough import THOROUGH

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.timeout(300)]

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]

FLOOD = LogConfig(guid="flood", source_name="APP")
FLOODS = 12
TASKS = 3
TREE = 1000

SLOWER = 8
"""A neighbour's Task may take this many times as long as alone: a dozen busy containers share its cores."""

SLOWER_THAN_SILENT = 4
"""How many times as long a Task may take beside floods as beside apps that are as busy and write nothing."""

LAG_S = 0.05
"""By which the cell's own work may delay a timer of its loop, for half of the times: a check has a second."""


class FloodLog:
    """A log that counts the lines of floods and keeps all others."""

    def __init__(self, keep: Callable[[LogLine], None]) -> None:
        self.counted: Counter[str] = Counter()
        self._keep = keep

    def emit(self, line: LogLine) -> None:
        if line.source_id == FLOOD.guid:
            self.counted[line.instance_id] += 1
        else:
            self._keep(line)


async def seconds_of_a_task(cell: Cell, guid: str) -> float:
    """From its start to its end; it is removed again."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await cell.start("echo done", guid=guid)
    async with asyncio.timeout(60):
        async for event in cell.events:
            if event.kind is EventKind.COMPLETE:
                assert event.container.guid == guid, f"{event.container.guid} ended: {event.container}"
                assert not event.container.run_result.failed
                break
    taken = loop.time() - begun
    await cell.executor.delete(guid)
    return taken


async def seconds_of_tasks(cell: Cell, name: str) -> float:
    return statistics.median([await seconds_of_a_task(cell, f"{name}-{number}") for number in range(TASKS)])


@asynccontextmanager
async def measured_lag() -> AsyncIterator[list[float]]:
    """How late a timer of 10 ms comes, again and again, by what this process computes meanwhile.

    The rest of a delay is the machine's, whose processors others have.
    """
    late: list[float] = []
    loop = asyncio.get_running_loop()

    async def measure() -> None:
        while True:
            due, computed = loop.time() + 0.01, time.process_time()
            await asyncio.sleep(0.01)
            late.append(min(loop.time() - due, time.process_time() - computed))

    task = asyncio.create_task(measure())
    try:
        yield late
    finally:
        task.cancel()
        await asyncio.wait([task])


async def start_server(cell: Cell) -> None:
    """A server with a check twice a second, which is given a second each time."""
    await cell.start(
        "exec httpd -f -p 8080 -h /tmp",
        guid="server",
        ports=(8080,),
        check_definition=CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080, interval_ms=500)),)),
    )
    await cell.until(EventKind.RUNNING)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as the tree may hold; a cell raises its limit when it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * DESCRIPTORS * TREE), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100] if THOROUGH else [0])
async def test_floods_of_short_lines_cost_their_neighbours_little(open_cell: OpenCell, limit: int) -> None:
    """Twelve times ``yes``, unlimited or muted by 100 lines a second: Tasks complete and checks hold.

    The floods also take the machine's cores from a Task, whatever the cell does; apps that are as busy and
    write nothing show how much that is.
    """
    async with open_cell(max_log_lines_per_second=limit) as cell:
        log = FloodLog(cell.log.emit)
        cell.log.emit = log.emit  # type: ignore[method-assign]
        await start_server(cell)
        for number in range(FLOODS):
            await cell.start("exec yes a >/dev/null", guid=f"busy-{number}")
        for _ in range(FLOODS):
            await cell.until(EventKind.RUNNING)
        beside_silent = await seconds_of_tasks(cell, "silent")
        await asyncio.gather(*(cell.executor.delete(f"busy-{number}") for number in range(FLOODS)))
        for _ in range(FLOODS):
            await cell.until(EventKind.COMPLETE)
        for number in range(FLOODS):
            flood = LogConfig(guid=FLOOD.guid, index=number, source_name="APP")
            await cell.start("exec yes a", guid=f"flood-{number}", log_config=flood)
        await cell.until_true(lambda: len(log.counted) == FLOODS)
        async with measured_lag() as late:
            beside = await seconds_of_tasks(cell, "beside")
        assert beside < SLOWER_THAN_SILENT * beside_silent
        assert statistics.median(late) < LAG_S
        states = {container.guid: container.state for container in cell.executor.containers()}
        assert states["server"] is ContainerState.RUNNING
        await asyncio.gather(*(cell.executor.delete(f"flood-{number}") for number in range(FLOODS)))


@pytest.mark.usefixtures("descriptors")
async def test_a_tree_of_a_thousand_processes_does_not_hold_up_a_task(open_cell: OpenCell) -> None:
    """One LRP of 1,000 parallel actions: a neighbour's Task does not wait until all of them have started."""
    async with open_cell() as cell:
        started = 0

        def count(line: LogLine) -> None:
            nonlocal started
            started += line.payload == b"up"

        log = cell.log.emit
        cell.log.emit = lambda line: count(line) if line.source_id == "tree" else log(line)  # type: ignore[method-assign]
        alone = await seconds_of_tasks(cell, "alone")
        branch = RunAction(path="/bin/sh", args=("-c", "echo up; exec sleep 1000"), user="vcap")
        await cell.start(
            "",
            guid="tree",
            action=ParallelAction(actions=(branch,) * TREE),
            log_config=LogConfig(guid="tree"),
        )
        await cell.until_true(lambda: started >= 10)
        beside = await seconds_of_tasks(cell, "beside")
        assert started < TREE
        assert beside < SLOWER * alone


async def test_a_tree_that_needs_more_descriptors_than_its_part_fails_alone(
    open_cell: OpenCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 parallel actions do not take all descriptors of the cell: the tree says why it failed."""
    monkeypatch.setattr(processes, "processes_most", lambda: 10)
    async with open_cell() as cell:
        branch = RunAction(path="/bin/sh", args=("-c", "exec sleep 1000"), user="vcap")
        await cell.start("", guid="tree", action=CodependentAction(actions=(branch,) * 20))
        complete = await cell.until(EventKind.COMPLETE)
        assert "too many processes: this container runs 10" in complete.run_result.failure_reason
        await seconds_of_a_task(cell, "neighbour")
