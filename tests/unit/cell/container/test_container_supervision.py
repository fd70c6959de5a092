"""Supervision of the processes of a container, with real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bbs.backoff import Backoff
from cell.container.children import Child
from cell.container.supervision import supervise
from cell.errors import CommandError
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.unit

QUICK = Backoff(attempts=0, first_s=0.01, most_s=0.02)
FOREVER = ("sleep", "1000")


def counting(starts: Path, then: str) -> list[str]:
    """A program that writes a line at each start."""
    return ["sh", "-c", f"echo start >> {starts}; {then}"]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
async def helper() -> AsyncIterator[Child]:
    async with Child.running("the engine", FOREVER, 5) as child:
        yield child


async def supervised(command: list[str], helper: Child, stop: asyncio.Event | None = None) -> int:
    async with asyncio.timeout(PATIENCE_S):
        return await supervise(command, [helper], stop or asyncio.Event(), QUICK)


async def test_a_rep_that_fails_starts_again_and_the_helpers_stay(helper: Child, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    rep = counting(starts, f'[ "$(wc -l < {starts})" -ge 3 ] && exit 0; kill -9 $$')
    assert await supervised(rep, helper) == 0
    assert lines(starts) == 3
    assert helper.process.returncode is None


@pytest.mark.parametrize("status", [0, 2])
def test_a_rep_that_ended_for_good_does_not_start_again(tmp_path: Path, status: int) -> None:
    async def run() -> int:
        async with Child.running("the engine", FOREVER, 5) as helper:
            return await supervised(counting(tmp_path / "starts", f"exit {status}"), helper)

    assert asyncio.run(run()) == status
    assert lines(tmp_path / "starts") == 1


async def test_a_stop_ends_the_rep_in_order(helper: Child, tmp_path: Path) -> None:
    stop = asyncio.Event()
    up, ended = tmp_path / "up", tmp_path / "ended"
    program = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(ended)!r}).touch(), sys.exit(0)))
pathlib.Path({str(up)!r}).touch()
time.sleep(1000)
"""
    running = asyncio.ensure_future(supervised([sys.executable, "-c", program], helper, stop))
    await until(up.exists)
    stop.set()
    assert await running == 0
    assert ended.exists()


async def test_a_stop_while_the_rep_is_down_ends_the_container(helper: Child, tmp_path: Path) -> None:
    stop = asyncio.Event()
    slow = Backoff(attempts=0, first_s=1000, most_s=1000)
    rep = counting(tmp_path / "starts", "exit 1")
    running = asyncio.ensure_future(supervise(rep, [helper], stop, slow))
    await until(lambda: lines(tmp_path / "starts") == 1)
    stop.set()
    async with asyncio.timeout(PATIENCE_S):
        assert await running in (0, 1)


async def test_without_its_engine_the_container_ends(helper: Child) -> None:
    running = asyncio.ensure_future(supervised(list(FOREVER), helper))
    helper.process.kill()
    assert await running == 1


async def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    up = tmp_path / "up"
    async with Child.running("deaf", ["sh", "-c", f"trap '' TERM; touch {up}; sleep 1000"], 0.05) as child:
        await until(up.exists)
    assert child.process.returncode == -9


async def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"the engine cannot be started: .*/dockerd: No such file"):
        async with Child.running("the engine", [str(tmp_path / "dockerd")], 1):
            pass
