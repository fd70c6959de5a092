"""`cell dev` is killed and started again: the apps on it go on; Ctrl-C then ends them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker import APIClient

from cell.development.local import LocalCell, LocalCellError, local_cell
from tests.support.inside import Inside

pytestmark = [pytest.mark.docker, pytest.mark.alone]

WEB = {
    "process_guid": "web",
    "domain": "d",
    "rootfs": "preloaded:busybox",
    "instances": 2,
    "action": {"run": {"path": "/bin/sh", "args": ["-c", "exec httpd -f -p 8080"], "user": "root"}},
    "ports": [8080],
}
SETTLED_S = 2.5
"""Time in which a control plane that misses the cell would replace its instances."""
LASTING = ("instance_guid", "index", "address", "ports", "since", "crash_count", "state")


@pytest.fixture
def client() -> Iterator[APIClient]:
    with closing(docker.APIClient(version="auto")) as found:
        yield found


async def instances(cell: LocalCell) -> list[dict[str, Any]]:
    rows = await cell.receptor.running("web", 2)
    return [{key: row.get(key) for key in LASTING} for row in rows]


async def test_apps_outlive_a_killed_cell_dev(tmp_path: Path, client: APIClient) -> None:
    arguments = ("--convergence-interval", "1")
    with suppress(LocalCellError):  # its end is none in order
        async with local_cell(tmp_path, arguments=arguments) as cell:
            await cell.receptor.expect(201, "POST", "/v1/desired_lrps", WEB)
            before = await instances(cell)
            inside = Inside(client, cell.cells[0]["cell_id"])
            ids, pids = inside.ids(), inside.pids()
            assert len(ids) == 2
            os.kill(cell.pid, signal.SIGKILL)
    assert (inside.ids(), inside.pids()) == (ids, pids)
    async with local_cell(tmp_path, arguments=arguments) as cell:
        assert await instances(cell) == before
        await asyncio.sleep(SETTLED_S)
        assert await instances(cell) == before
        assert (inside.ids(), inside.pids()) == (ids, pids)
    assert inside.ids() == {}
