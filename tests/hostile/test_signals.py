"""Signals, stopped readers and second processes, with real development cells."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp
import pytest
from docker import APIClient

from cell.development.local import local_cell
from cell.development.slots import take_slots
from executor.engine.createrequest import LABEL_GUID
from tests.support.local_reps import QUICK, LocalRep

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

PATIENCE_S = 60.0
LITTLE_PIPE = 4096


@pytest.fixture
def engine() -> Any:
    client = APIClient()
    yield client
    client.close()


async def until(holds: Callable[[], bool], what: str) -> None:
    """Look every few ms."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


def containers(engine: APIClient, state: Path) -> set[str]:
    """Those of cells whose state is in a folder."""
    return {
        each["Id"]
        for each in engine.containers(all=True, filters={"label": LABEL_GUID})
        if any(mount.get("Source", "").startswith(f"{state}/") for mount in each["Mounts"])
    }


@asynccontextmanager
async def program(*words: str | Path, **streams: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command of ours; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cell", *map(str, words), **{"stdin": asyncio.subprocess.DEVNULL, **streams}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(PATIENCE_S):
        return await process.wait()


def little_pipe() -> tuple[int, int]:
    """A pipe that is soon full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, LITTLE_PIPE)
    return reader, writer


def chatty_lrp() -> dict[str, Any]:
    script = "while true; do echo line after line after line; done"
    return {
        "process_guid": "chatty",
        "domain": "test",
        "rootfs": "preloaded:busybox",
        "instances": 1,
        "action": {"run": {"path": "/bin/sh", "args": ["-c", script], "user": "vcap"}},
        "memory_mb": 32,
        "disk_mb": 32,
        "log_guid": "chatty",
        "log_source": "APP",
    }


async def desired(receptor: str, document: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{receptor}/v1/desired_lrps", json=document) as response:
            assert response.status == 201
        url = f"{receptor}/v1/actual_lrps/{document['process_guid']}"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with session.get(url) as response:
                    if any(row["state"] == "RUNNING" for row in await response.json()):
                        return
                await asyncio.sleep(0.1)


@pytest.fixture
def error_file() -> Iterator[Callable[[Path], IO[bytes]]]:
    """Opens a file for a program's errors."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(path.open("wb"))


async def test_a_terminal_that_stops_and_closes(
    tmp_path: Path, engine: APIClient, error_file: Callable[[Path], IO[bytes]]
) -> None:
    """`cell dev` without a reader of its output, beside a second one, and with a terminal that closes."""
    state = tmp_path / "state"
    reader, writer = little_pipe()
    config = tmp_path / "rep.json"
    config.write_text(json.dumps({"graceful_shutdown_interval": "1s"}))
    words = ("dev", "--state-dir", state, "--any-ports", "--config", config)
    async with program(*words, stdout=writer, stderr=error_file(tmp_path / "err")) as cell:
        os.close(writer)
        endpoints = state / "endpoints.json"
        await until(lambda: endpoints.exists() or cell.returncode is not None, "a cell")
        assert cell.returncode is None, (tmp_path / "err").read_text()
        told = json.loads(endpoints.read_text())
        await desired(told["receptor"], chatty_lrp())

        # the second one
        held = {path: path.read_bytes() for path in (endpoints, state / "dev.lock")}
        async with program(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE) as second:
            out, err = await asyncio.wait_for(second.communicate(), PATIENCE_S)
        assert (second.returncode, out) == (1, b"")
        assert err.decode() == (
            f"cell dev: the state folder {state} is in use by another `cell dev` (process {cell.pid}): stop "
            "that one, or give this one another --state-dir\n"
        )
        assert {path: path.read_bytes() for path in held} == held

        # the first one continues, although its output has been full for long
        admin = told["cells"][0]["admin"]
        async with aiohttp.ClientSession() as session, session.get(f"{admin}/ping") as response:
            assert response.status == 200
        assert containers(engine, state)
        assert readable_for_others(state) == []

        cell.send_signal(signal.SIGHUP)
        cell.send_signal(signal.SIGHUP)
        assert await ended(cell) == 0, (tmp_path / "err").read_text()
    os.close(reader)
    assert not containers(engine, state)
    assert not endpoints.exists()
    assert not Path(f"/sys/class/net/{told['cells'][0]['interface']}").exists()


def readable_for_others(state: Path) -> list[str]:
    """The files with secrets."""
    files = [state, state / "tls", *state.glob("*.log"), *state.glob("*.json"), *state.glob("*.db*")]
    return [str(path) for path in (*files, *state.glob("tls/*")) if path.stat().st_mode & 0o077]


async def test_a_rep_whose_log_nobody_reads(tmp_path: Path) -> None:
    """A stopped reader of the component log hangs neither a rep's answers nor its end."""
    async with local_cell(tmp_path / "plane", arguments=("--cells", "0")) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, tmp_path / "rep", settings={**QUICK, "log_level": "debug"})
            reader, writer = little_pipe()
            os.write(writer, bytes(LITTLE_PIPE))  # full before the first line
            async with program("rep", "-config", rep.config, stdout=writer, stderr=writer) as process:
                os.close(writer)
                await answering(rep, process)
                for _ in range(100):
                    assert await rep.answers()
                process.send_signal(signal.SIGTERM)
                assert await ended(process) == 0
            os.close(reader)


async def answering(rep: LocalRep, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await rep.answers():
            assert process.returncode is None
            await asyncio.sleep(0.05)


async def test_a_run_whose_terminal_closes(tmp_path: Path, engine: APIClient) -> None:
    """`cell run` on a terminal that closes stops its container in order, as for Ctrl-C."""
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"run": {"path": "sleep", "args": ["1000"], "user": "root"}}))
    master, slave = pty.openpty()
    state = tmp_path / "state"
    words = ("run", tree, "--image", "busybox", "--state-dir", state)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    environment = {**os.environ, "TERM": "xterm"}
    async with program(*words, **streams, env=environment, preexec_fn=lambda: terminal(slave)) as process:
        os.close(slave)
        os.set_blocking(master, False)

        def is_up() -> bool:
            drain(master)
            return bool(containers(engine, state))

        await until(is_up, "a container")
        os.close(master)
        status = await ended(process)
    assert status == 130
    assert not containers(engine, state)


def terminal(slave: int) -> None:
    """Make it the terminal of a session of its own, as a terminal window does."""
    os.setsid()
    fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY


def drain(master: int) -> None:
    try:
        os.read(master, 1 << 16)
    except BlockingIOError:
        return
