"""What an agent says to its service manager, over a real socket, from its start to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cell.assembly import supervision as module
from cell.assembly.keptlisteners import KeptListeners
from cell.assembly.supervision import Supervision, describe
from common.liveness import Liveness
from common.notify import Notifier
from common.tasks import running
from executor.model import Container, ContainerState, Resources
from rep.ending import Ending
from tests.support.managers import Manager, manager
from tests.support.rep_agents import Running
from tests.support.rep_doubles import FakeExecutor, FakeLocket, RecordedMetrics, ScriptedBBS, agent_config
from tests.support.waiting import until

pytestmark = pytest.mark.unit

S = ContainerState


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Manager]:
    with manager(tmp_path) as found:
        yield found


@pytest.fixture
async def cell() -> Running:
    total = Resources(memory_mb=1000, disk_mb=2000, containers=249)
    return Running(FakeExecutor(total), ScriptedBBS(), FakeLocket(), RecordedMetrics())


class Reports:
    """The supervision of a cell whose watchdog is fed each 10 ms."""

    def __init__(self, systemd: Manager, watchdog_s: float | None = 0.04) -> None:
        self.notifier = Notifier(systemd.address, watchdog_s)
        self.liveness = Liveness(lambda: self.now)
        self.supervision = Supervision(self.notifier, agent_config(), self.liveness)
        self.now = 0.0

    @asynccontextmanager
    async def of(self, cell: Running) -> AsyncIterator[None]:
        try:
            async with running(self.supervision.run(cell.agent, cell.executor), "supervision"):
                yield
        finally:
            self.notifier.close()


async def test_ready_comes_with_the_registration_and_the_status_follows_the_cell(
    systemd: Manager, cell: Running
) -> None:
    reports = Reports(systemd)
    reports.supervision.begin()
    cell.locket.down = True
    async with reports.of(cell):
        task = asyncio.create_task(cell.agent.run())
        await until(lambda: len(cell.locket.calls) > 1, "attempts to register")
        assert not systemd.has(READY="1")
        assert "registering" in systemd.statuses()[-1]
        cell.locket.down = False
        await systemd.until(READY="1")
        await systemd.until(STATUS="cell-1: 0 containers, 0 running")
        cell.executor.put(Container(guid="a", state=S.RUNNING), Container(guid="b", state=S.CREATED))
        await systemd.until(STATUS="cell-1: 2 containers, 1 running")
        cell.agent.stop()
        await asyncio.wait([task])


async def test_the_watchdog_is_fed_only_while_every_loop_turns(
    systemd: Manager, cell: Running, caplog: pytest.LogCaptureFixture
) -> None:
    reports = Reports(systemd)
    async with cell.running(), reports.of(cell):
        with reports.liveness.loop("engine", 10) as answered:
            await systemd.until(WATCHDOG="1")
            reports.now = 11
            await until(lambda: any(record.message == "loops-do-not-turn" for record in caplog.records))
            systemd.clear()
            cell.executor.put(Container(guid="a"))
            await systemd.until(STATUS="cell-1: 1 container, 0 running")
            assert not systemd.has(WATCHDOG="1")
            answered()
            await systemd.until(WATCHDOG="1")
    named = [record.__dict__["data"] for record in caplog.records if record.message == "loops-do-not-turn"]
    assert named == [{"seconds-since-last-turn": {"engine": 11}}]


async def test_the_loops_of_an_agent_are_watched(cell: Running) -> None:
    now = [0.0]
    cell.liveness = Liveness(lambda: now[0])
    cell.begin()
    async with cell.running():
        now[0] = 10_000
        assert cell.liveness.late().keys() == {"presence", "bulk pass"}
        await until(lambda: cell.liveness.late().keys() == {"bulk pass"}, "the presence's next renewal")
    assert cell.liveness.late() == {}


async def test_an_evacuation_asks_for_more_time_until_its_end(systemd: Manager, cell: Running) -> None:
    reports = Reports(systemd, None)
    async with cell.running(), reports.of(cell):
        await systemd.until(READY="1")
        assert not any("EXTEND_TIMEOUT_USEC" in message for message in systemd.received())
        cell.executor.put(Container(guid="a", state=S.RUNNING))
        await cell.agent.evacuation.begin()
        await systemd.until(EXTEND_TIMEOUT_USEC="30000000")
        await systemd.until(STATUS="cell-1: evacuating, 1 container left")
        systemd.clear()
        await systemd.until(EXTEND_TIMEOUT_USEC="30000000")
        cell.executor.store.clear()
    reports.supervision.ending(Ending.DESTROY, 30.0)
    assert systemd.has(STOPPING="1")
    assert systemd.has(EXTEND_TIMEOUT_USEC="30000000")
    assert systemd.statuses()[-1] == "cell-1: ending, with all containers"
    reports.notifier.close()


async def test_a_reload_is_one_for_the_manager_once_the_cell_is_ready(
    systemd: Manager, cell: Running
) -> None:
    reports = Reports(systemd)
    with reports.supervision.reloading():
        pass
    assert systemd.received() == []
    async with cell.running(), reports.of(cell):
        await systemd.until(READY="1")
        systemd.clear()
        with reports.supervision.reloading():
            assert systemd.has(RELOADING="1")
        assert systemd.has(READY="1")


@pytest.mark.parametrize(
    ("healthy", "registered", "text"),
    [
        (True, True, "1 container, 1 running"),
        (False, True, "1 container, 1 running; takes no work: its last check of engine and journal failed"),
        (True, False, "1 container, 1 running; not registered with Locket, tries again"),
    ],
)
def test_the_status_names_what_is_wrong(healthy: bool, registered: bool, text: str) -> None:
    assert describe([S.RUNNING], healthy=healthy, registered=registered, evacuating=False) == text


async def test_the_next_process_takes_over_the_listeners_that_the_manager_keeps(
    systemd: Manager, cell: Running
) -> None:
    notifier = Notifier(systemd.address)
    cell.listener_store = KeptListeners(notifier, {})
    cell.begin()
    async with cell.running():
        first = cell.agent.listeners
    assert systemd.has(FDSTORE="1", FDNAME="admin")
    assert systemd.has(FDSTORE="1", FDNAME="network")
    reader, writer = await asyncio.open_connection(first.admin.host, first.admin.port)
    writer.write(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    stored = {name: os.dup(number) for name, number in systemd.descriptors.items()}
    cell.listener_store = KeptListeners(notifier, stored)
    cell.begin(listen_addr=str(first.admin), listen_addr_securable="127.0.0.1:0")
    async with cell.running():
        assert cell.agent.listeners.admin == first.admin
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert cell.agent.listeners.network != first.network, "it has another address now"
    writer.close()
    assert systemd.has(FDSTOREREMOVE="1", FDNAME="network")
    notifier.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
