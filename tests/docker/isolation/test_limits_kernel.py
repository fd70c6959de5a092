"""Limits enforced by the kernel: a real app exceeds each, and its log names the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

from bbs.models.actions import ResourceLimits, RunAction
from executor.model import EventKind

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]
SOON = {"container_limits_interval_s": 0.1}
HOG = "dd if=/dev/zero of=/dev/null bs=200M count=1"
BURN = "while :; do :; done"


async def test_a_memory_hog(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start(f"{HOG}; exit $?", allocation={"memory_mb": 32})
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failure_reason == "APP: Exited with status 137 (out of memory)"
        assert "Memory limit of 32M exceeded: the kernel ended a process of this instance" in cell.log.texts


async def test_a_worker_that_dies_of_memory_while_the_app_goes_on(open_cell: OpenCell) -> None:
    async with open_cell(**SOON) as cell:
        await cell.start(f"{HOG}; echo still here; exec sleep 1000", allocation={"memory_mb": 32})
        await cell.log.until("still here")
        await cell.log.until("Memory limit of 32M exceeded")


async def test_a_fork_bomb(open_cell: OpenCell) -> None:
    async with open_cell(**SOON) as cell:
        await cell.start("while :; do sleep 1000 & done", allocation={"max_pids": 20})
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failed
        assert "Process limit of 20 reached: new processes or threads are refused" in cell.log.texts


async def test_a_hog_of_open_files(open_cell: OpenCell) -> None:
    async with open_cell(**SOON) as cell:
        script = "cd /tmp; for n in $(seq 100); do touch $n; done; exec tail -f $(seq 100)"
        action = RunAction(
            path="/bin/sh", args=("-c", script), user="vcap", resource_limits=ResourceLimits(nofile=64)
        )
        await cell.start("", action=action)
        line = await cell.log.until("open files reached")
        assert line == "Limit of 64 open files reached: process 'tail' can open no more"


async def test_a_flood_of_logs(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start("yes 0123456789", log_rate_limit_bytes_per_second=1000)
        line = await cell.log.until("exceeded log rate limit")
        assert "1000 bytes/sec" in line


def used_ns(cell: Cell, guid: str) -> int:
    """CPU time by the last reading, 0 before the first."""
    reading = cell.executor.metrics().get(guid)
    return reading.cpu_time_ns if reading else 0


async def test_a_hog_of_cpu_leaves_others_their_share(open_cell: OpenCell) -> None:
    """Both on one core: weight 100 gets several times what weight 10 gets."""
    async with open_cell(container_metrics_report_interval_s=0.05) as cell:
        for guid, weight in (("heavy", 100), ("light", 10)):
            await cell.start(f"exec taskset 1 sh -c '{BURN}'", guid=guid, cpu_weight=weight)
            await cell.until(EventKind.RUNNING)
        await cell.until_true(lambda: used_ns(cell, "light") > 0)
        heavy, light = used_ns(cell, "heavy"), used_ns(cell, "light")
        await cell.until_true(lambda: used_ns(cell, "heavy") > heavy + 1_000_000_000)
        assert (used_ns(cell, "light") - light) * 4 < used_ns(cell, "heavy") - heavy


async def test_a_hard_limit_of_cpu_holds_on_an_idle_machine(open_cell: OpenCell) -> None:
    async with open_cell(container_max_cpu_percent=20.0, container_metrics_report_interval_s=0.05) as cell:
        await cell.start(BURN)
        await cell.until_true(lambda: used_ns(cell, "ig") > 0)
        loop = asyncio.get_running_loop()
        begun, begun_at = used_ns(cell, "ig"), loop.time()
        await cell.until_true(lambda: used_ns(cell, "ig") > begun + 300_000_000)
        assert loop.time() - begun_at > 1.0


async def test_a_hard_limit_of_cpu_that_is_met_is_told(open_cell: OpenCell) -> None:
    async with open_cell(container_max_cpu_percent=20.0, container_limits_interval_s=1.0) as cell:
        await cell.start(BURN, cpu_weight=50)
        await cell.log.until_line("CPU limit of 10% of a core reached: this instance is slowed down")
