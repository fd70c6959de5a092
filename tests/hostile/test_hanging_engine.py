"""A hanging engine: a stop of the cell ends within its time limit and logs the reason."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path

import pytest
from docker import APIClient

from cell.assembly.service import END_SLACK_S
from cell.development.local import local_cell
from cell.development.slots import take_slots
from executor.engine.createrequest import LABEL_CELL
from rep.evacuation import CLEANUP_SLACK_S
from tests.support.faults import FaultProxy, Hang
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


async def test_a_stop_ends_within_its_grace(tmp_path: Path, docker_client: APIClient) -> None:
    """SIGTERM while the engine hangs took 180 s, the time limits of calls that cannot be cancelled."""
    async with (
        FaultProxy.before_engine(tmp_path, ENGINE) as proxy,
        local_cell(tmp_path / "plane", arguments=["--cells", "0"]) as plane,
    ):
        settings = {
            **QUICK,
            "docker_host": proxy.url,
            "graceful_shutdown_interval": f"{GRACE_S:g}s",
            "envoy_config_reload_duration": "0s",
        }
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
                with proxy.fault(".*", Hang()):
                    began = time.monotonic()
                    status = await asyncio.wait_for(rep.stop(), LIMIT_S + 30)
                    assert status == 1
                    assert time.monotonic() - began < LIMIT_S + 10
                    said = [json.loads(line)["message"] for line in rep.log_tail(50).splitlines()]
                    assert "rep.evacuation-cleanup.failed-to-cleanup-all-containers" in said
                    assert "rep.locket-lock.released-lock" in said, "the control plane knows that it is gone"
                    assert said[-1] == "rep.shutdown-timed-out"
            finally:
                await rep.stop()
                for container in docker_client.containers(all=True, filters=labels):
                    docker_client.remove_container(container["Id"], force=True, v=True)
