"""A private ``cell dev`` as a child process: start, REST calls, stop.

The demo, the benchmarks and the end-to-end tests use it, so they all exercise the real entry point and the
real protocols.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import docker
import psutil

from executor.engine.createrequest import LABEL_GUID

START_TIMEOUT_S = 240.0
"""Limit for the start of a `cell dev`: the first one downloads packages for the bundle and builds it."""

STOP_TIMEOUT_S = 60.0


class LocalCellError(Exception):
    """The development cell failed; the message contains the end of its log."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and decoded body (JSON, else text) of a response."""

    status: int
    body: Any


class Receptor:
    """Client of the REST API of a running ``cell dev``."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request; any status is an answer."""
        async with self._session.request(method, self._base + path, json=body, headers=headers) as response:
            text = await response.text()
            try:
                return Answer(response.status, json.loads(text))
            except ValueError:
                return Answer(response.status, text)

    async def expect(self, status: int, method: str, path: str, body: object = None) -> Any:
        """Send a request that must answer ``status``; raises LocalCellError with the server's message."""
        answer = await self.call(method, path, body)
        if answer.status != status:
            raise LocalCellError(f"{method} {path} answered {answer.status}, not {status}: {answer.body}")
        return answer.body

    async def until(
        self,
        path: str,
        holds: Callable[[Any], bool],
        *,
        what: str,
        timeout_s: float = 30.0,
        every_s: float = 0.02,
    ) -> Any:
        """GET ``path`` until ``holds`` is true for its body; raises LocalCellError with the last body."""
        last: Any = None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            last = (await self.call("GET", path)).body
            if holds(last):
                return last
            await asyncio.sleep(every_s)
        raise LocalCellError(f"waited {timeout_s:g} s for {what}; last state: {json.dumps(last)}")

    async def running(
        self, process_guid: str, instances: int = 1, *, timeout_s: float = 30.0
    ) -> list[dict[str, Any]]:
        """The instances of an LRP, as soon as ``instances`` of them are RUNNING."""

        def enough(rows: Any) -> bool:
            return len([row for row in rows if row["state"] == "RUNNING"]) >= instances

        rows: list[dict[str, Any]] = await self.until(
            f"/v1/actual_lrps/{process_guid}",
            enough,
            what=f"{instances} RUNNING instance(s) of {process_guid}",
            timeout_s=timeout_s,
        )
        return sorted(rows, key=lambda row: int(row["index"]))


@dataclass(frozen=True, slots=True)
class LocalCell:
    """A running ``cell dev``: its REST API, its endpoints, and its state folder.

    cells: for each cell ``cell_id``, ``admin`` and ``network`` URLs, ``interface`` and ``nft_table``.
    """

    receptor: Receptor
    endpoints: dict[str, str]
    cells: list[dict[str, str]]
    state_dir: Path
    pid: int


def processes(instance_guid: str) -> list[psutil.Process]:
    """All processes of an instance's container as host processes: those in its pid namespace."""
    client = docker.from_env()
    try:
        (container,) = client.containers.list(filters={"label": f"{LABEL_GUID}={instance_guid}"})
        namespace = os.readlink(f"/proc/{container.attrs['State']['Pid']}/ns/pid")
    finally:
        client.close()
    found = []
    for process in psutil.process_iter():
        with suppress(OSError):  # the process has ended, or access is denied
            if os.readlink(f"/proc/{process.pid}/ns/pid") == namespace:
                found.append(process)
    return found


def pack(folder: Path, target: Path) -> None:
    """Create a .tgz with the files of ``folder`` at its root, executable, with a neutral owner."""

    def clean(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name, filter=clean)


async def _wait_for_endpoints(process: asyncio.subprocess.Process, path: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise LocalCellError(f"`cell dev` ended with {process.returncode}:\n{_tail(log)}")
        if path.exists():
            endpoints: dict[str, Any] = json.loads(path.read_text())
            return endpoints
        await asyncio.sleep(0.02)
    raise LocalCellError(f"`cell dev` was not up after {START_TIMEOUT_S:g} s:\n{_tail(log)}")


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no output)"


@asynccontextmanager
async def local_cell(
    state_dir: Path, *, arguments: Sequence[str] = (), environment: dict[str, str] | None = None
) -> AsyncIterator[LocalCell]:
    """Run ``cell dev`` on free ports as a child process for the block.

    Its output goes to ``state_dir/dev.log``. Raises LocalCellError if it does not start or does not end
    cleanly (exit status 0) after SIGTERM.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    endpoints_file = state_dir / "endpoints.json"
    endpoints_file.unlink(missing_ok=True)
    log = state_dir / "dev.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cell",
            "dev",
            "--state-dir",
            str(state_dir),
            "--any-ports",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
    try:
        endpoints = await _wait_for_endpoints(process, endpoints_file, log)
        cells = endpoints.pop("cells")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield LocalCell(
                Receptor(session, endpoints["receptor"]), endpoints, cells, state_dir, process.pid
            )
    finally:
        status = await _stop(process)
    if status != 0:
        raise LocalCellError(f"`cell dev` ended with {status}:\n{_tail(log)}")


async def _stop(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return -signal.SIGKILL
