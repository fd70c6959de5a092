"""The exit status of a short program, whose parent sends it while the program is still being started."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from executor.engine.fifos import ProcessFifos, StatusReader
from executor.engine.output import OutputReader, OutputTurns
from executor.engine.process import DockerProcess

pytestmark = pytest.mark.unit

SLOW_PARENT = """\
echo 7 >"$0/status"
while [ ! -e "$0/on" ]; do sleep 0.01; done
while ! read -r REPLY <"$0/go"; do echo 7 >"$0/status"; done
"""
"""A parent that is not scheduled for a while between its status and the confirmation it waits for."""


async def test_a_status_that_the_start_has_read_ends_the_process(tmp_path: Path) -> None:
    """The agent waited for the status to be repeated, and the parent for the agent to open ``go``."""
    directory = tmp_path / "p1"
    fifos = ProcessFifos.make(directory, (os.getuid(), os.getgid()))
    status, turns = StatusReader(fifos.take("status")), OutputTurns()
    parent = await asyncio.create_subprocess_exec("sh", "-c", SLOW_PARENT, str(directory))
    try:
        async with asyncio.timeout(20):
            assert await status.failure() is None
            fifos.close_name("go")
            process = DockerProcess(
                name="p1",
                pid=parent.pid,
                child_fd=-1,
                parent_fd=os.pidfd_open(parent.pid),
                status=status,
                fifos=fifos,
                readers=(
                    OutputReader(fifos.take("out"), lambda _: None, turns, "guid"),
                    OutputReader(fifos.take("err"), lambda _: None, turns, "guid"),
                ),
                durable=True,
            )
            (directory / "on").touch()
            assert await process.wait() == 7
            assert await parent.wait() == 0
        process.abandon()
        await process.release()
    finally:
        if parent.returncode is None:
            parent.kill()
