"""An engine that hangs: a stop of the cell ends within its grace and logs the reason."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from docker import APIClient

from cell.assembly.service import END_SLACK_S
from cell.development.local import local_cell
from cell.development.slots import take_slots
from executor.engine.createrequest import LABEL_CELL
from rep.evacuation import CLEANUP_SLACK_S
from tests.support.local_reps import QUICK, LocalRep

pytestmark = pytest.mark.docker

ENGINE = "/var/run/docker.sock"
GRACE_S = 1.0
LIMIT_S = GRACE_S + CLEANUP_SLACK_S + END_SLACK_S
TASK = {
    "task_guid": "sleeper",
    "domain": "d",
    "rootfs": "preloaded:busybox",
    "action": {"run": {"path": "/bin/sleep", "args": ["600"], "user": "root"}},
}


class Relay:
    """A socket in front of the engine's, which passes everything on until it is told to hang."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._flows = asyncio.Event()
        self._flows.set()

    def hang(self) -> None:
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                engine = await asyncio.open_unix_connection(ENGINE)
                try:
                    await asyncio.gather(self._pump(reader, engine[1]), self._pump(engine[0], writer))
                except OSError:
                    return  # one side has gone
                finally:
                    engine[1].close()
                    writer.close()

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                relays.append(group.create_task(relay(reader, writer)))

            relays: list[asyncio.Task[None]] = []
            server = await asyncio.start_unix_server(accept, self.path)
            yield
            server.close()
            for task in relays:
                task.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def test_a_stop_ends_within_its_grace(tmp_path: Path, docker_client: APIClient) -> None:
    """SIGTERM while the engine hangs took 180 s, the time limits of calls that cannot be cancelled."""
    relay = Relay(tmp_path / "engine.sock")
    settings = {
        **QUICK,
        "docker_host": f"unix://{relay.path}",
        "graceful_shutdown_interval": f"{GRACE_S:g}s",
        "envoy_config_reload_duration": "0s",
    }
    async with relay.running(), local_cell(tmp_path / "plane", arguments=["--cells", "0"]) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, tmp_path / "cell", None, settings)
            labels = {"label": f"{LABEL_CELL}={slot.cell_id}"}
            try:
                await rep.start()
                await plane.receptor.expect(201, "POST", "/v1/tasks", TASK)
                async with asyncio.timeout(30):
                    for _ in itertools.count():
                        if docker_client.containers(filters=labels):
                            break
                        await asyncio.sleep(0.1)
                relay.hang()
                began = time.monotonic()
                status = await asyncio.wait_for(rep.stop(), LIMIT_S + 30)
                assert status == 1
                assert time.monotonic() - began < LIMIT_S + 10
                said = [json.loads(line)["message"] for line in rep.log_tail(50).splitlines()]
                assert "rep.evacuation-cleanup.failed-to-cleanup-all-containers" in said
                assert "rep.locket-lock.released-lock" in said, "the control plane knows that it is gone"
                assert said[-1] == "rep.shutdown-timed-out"
            finally:
                relay.go_on()
                await rep.stop()
                for container in docker_client.containers(all=True, filters=labels):
                    docker_client.remove_container(container["Id"], force=True, v=True)
