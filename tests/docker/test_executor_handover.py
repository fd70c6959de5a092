"""Executors of one process hand their containers over, on a real engine."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.models.workload import Check, CheckDefinition, HTTPCheck, TCPCheck
from common.failpoints import NAMES
from executor.config import OnStop
from executor.engine import creator, docker
from executor.journal.sqlite import SQLiteJournal
from executor.model import ContainerState, EventKind, RunResult
from executor.network import cell as network

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]

CHECKS = CheckDefinition(
    checks=(Check(tcp_check=TCPCheck(port=8080)),),
    readiness_checks=(Check(http_check=HTTPCheck(port=8080, path="/ready")),),
)


def init_of(cell: Cell) -> int:
    """Host pid of the container's init process."""
    (watched,) = cell.executor._boot.upkeep._watched()
    return watched.engine_container.init_pid


async def test_a_server_is_handed_over_again_and_again(open_cell: OpenCell, tmp_path: Path) -> None:
    marker = "while sleep 0.2; do echo tick; done & echo x >>/tmp/starts; exec httpd -f -p 8080 -h /tmp"
    pids = set()
    for life in range(4):
        async with SQLiteJournal(tmp_path / "journal") as journal:
            settings = {"on_stop": OnStop.HAND_OVER, "unhealthy_monitoring_interval_s": 0.1}
            async with open_cell(leave=life < 3, journal=journal, **settings) as cell:
                if life == 0:
                    await cell.start(marker, ports=(8080,), check_definition=CHECKS)
                    container = await cell.until(EventKind.RUNNING)
                    assert not container.routable
                    continue
                assert cell.executor.container("ig") == container
                pids.add(init_of(cell))
                await cell.log.until("tick")
                assert "Container became healthy" not in cell.log.texts
                if life == 2:
                    assert await cell.executor.read_file("ig", "/tmp/starts", 10) == b"x\n"
                if life == 3:
                    await cell.executor.stop("ig")
                    complete = await cell.until(EventKind.COMPLETE)
                    assert complete.run_result == RunResult(stopped=True)
                    assert "Exit status 143" in cell.log.texts
    assert len(pids) == 1


class Kill:
    """Ends an executor at a failpoint as a kill would: nothing that follows has an effect."""

    def __init__(self, cell: Cell, name: str, patch: pytest.MonkeyPatch) -> None:
        self._cell, self._name = cell, name
        self._loop = asyncio.get_running_loop()
        self._done = threading.Event()
        self.reached = asyncio.Event()
        for module in (creator, docker, network):
            patch.setattr(module, "failpoint", self._pass)

    def _pass(self, name: str) -> None:
        if name != self._name or self.reached.is_set():
            return
        if threading.current_thread() is threading.main_thread():
            self._end()
        else:
            self._loop.call_soon_threadsafe(self._end)
            self._done.wait(30)
        raise asyncio.CancelledError

    def _end(self) -> None:
        boot = self._cell.executor._boot
        boot.journal.detach()
        boot.shared.engine.detach()
        self._done.set()
        self.reached.set()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("container", "network"))])
async def test_what_was_killed_half_way_is_finished(
    open_cell: OpenCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    starts = ".create." in name or ".attach." in name
    async with SQLiteJournal(tmp_path / "journal") as journal, open_cell(leave=True, journal=journal) as cell:
        kill = Kill(cell, name, monkeypatch)
        await cell.start("exec httpd -f -p 8080", ports=(8080,), check_definition=CHECKS)
        deletion = None
        if not starts:
            await cell.until(EventKind.RUNNING)
            deletion = asyncio.create_task(cell.executor.delete("ig"))
        async with asyncio.timeout(30):
            await kill.reached.wait()
        await cell.executor.detach()
        if deletion is not None:
            await asyncio.wait({deletion})
    monkeypatch.undo()
    async with SQLiteJournal(tmp_path / "journal") as journal, open_cell(journal=journal) as cell:
        if starts:
            await cell.until_true(lambda: cell.executor.container("ig").state is ContainerState.RUNNING)
            (mapping,) = cell.executor.container("ig").ports
            address = cell.executor.container("ig").external_ip
            _, writer = await asyncio.open_connection(address, mapping.host_port)
            writer.close()
            assert await cell.engine.list_guids() == {"ig"}
        await cell.executor.delete("ig")
        assert await cell.engine.list_guids() == set()
        assert cell.executor.remaining_resources() == cell.executor.total_resources()
    async with SQLiteJournal(tmp_path / "journal") as journal:
        assert not journal.contents.containers
        assert not journal.contents.steps


def _write(fifo: Path) -> None:
    """Without O_CREAT: the kernel may refuse that for a FIFO of another user (fs.protected_fifos)."""
    descriptor = os.open(fifo, os.O_WRONLY)
    os.write(descriptor, b"go\n")
    os.close(descriptor)


async def test_what_ends_while_no_executor_runs_has_its_result(open_cell: OpenCell, tmp_path: Path) -> None:
    script = "mkfifo /tmp/go; read go </tmp/go; echo last words; exit 7"
    async with SQLiteJournal(tmp_path / "journal") as journal, open_cell(leave=True, journal=journal) as cell:
        await cell.start(script)
        await cell.until(EventKind.RUNNING)
        go = Path(f"/proc/{init_of(cell)}/root/tmp/go")
        await cell.until_true(go.exists)
        await cell.executor.detach()
        with pytest.raises(asyncio.CancelledError):
            await cell.engine.destroy("ig")
    await asyncio.to_thread(_write, go)
    async with SQLiteJournal(tmp_path / "journal") as journal, open_cell(journal=journal) as cell:
        await cell.until_true(lambda: cell.executor.container("ig").state is ContainerState.COMPLETED)
        assert cell.executor.container("ig").run_result == RunResult(
            failed=True, failure_reason="APP: Exited with status 7"
        )
        assert "last words" in cell.log.texts
