"""Executors of one process hand their containers over, on a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.models.workload import Check, CheckDefinition, HTTPCheck, TCPCheck
from executor.config import OnStop
from executor.journal.sqlite import SQLiteJournal
from executor.model import ContainerState, EventKind, RunResult

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
    await asyncio.to_thread(go.write_text, "go\n")
    async with SQLiteJournal(tmp_path / "journal") as journal, open_cell(journal=journal) as cell:
        await cell.until_true(lambda: cell.executor.container("ig").state is ContainerState.COMPLETED)
        assert cell.executor.container("ig").run_result == RunResult(
            failed=True, failure_reason="APP: Exited with status 7"
        )
        assert "last words" in cell.log.texts
