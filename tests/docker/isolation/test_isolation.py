"""Isolation of a process from its neighbours, from the host and from the cell's own files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

from bbs.models.actions import ResourceLimits, RunAction
from bbs.models.common import EnvironmentVariable
from executor.model import ContainerState, EventKind

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]

STATUS = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"
RECORDED = "00000000a80425fb"
"""The capabilities that a deployed cell gave its containers."""


def fields(lines: list[str]) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(("user", "effective"), [("vcap", "0000000000000000"), ("root", RECORDED)])
async def test_capabilities_and_filters_are_the_recorded_ones(
    open_cell: OpenCell, user: str, effective: str
) -> None:
    async with open_cell() as cell:
        assert fields(await cell.output(STATUS, user=user)) == {
            "CapEff": effective,
            "CapBnd": RECORDED,
            "NoNewPrivs": "0",
            "Seccomp": "2",
        }


async def test_privileged_containers_are_what_the_host_can_give(open_cell: OpenCell) -> None:
    async with open_cell(allow_privileged_containers=True) as cell:
        told = fields(await cell.output(STATUS, user="root", privileged=True))
        assert told["Seccomp"] == "0"
        assert int(told["CapEff"], 16) & int(RECORDED, 16) == int(RECORDED, 16)
        assert int(told["CapEff"], 16) >> 21 & 1  # SYS_ADMIN


async def test_users_of_a_privileged_container_have_the_recorded_bounds(open_cell: OpenCell) -> None:
    """Whatever is setuid root in it: not all that its root has."""
    async with open_cell(allow_privileged_containers=True) as cell:
        told = fields(await cell.output(f"{STATUS}; id", user="vcap", privileged=True))
        assert told["CapEff"] == "0000000000000000"
        assert told["CapBnd"] == "00000000a82425fb"
        assert (told["Seccomp"], told["NoNewPrivs"]) == ("0", "0")


async def test_a_process_of_a_user_of_a_privileged_container_is_like_any_other(open_cell: OpenCell) -> None:
    async with open_cell(allow_privileged_containers=True) as cell:
        action = RunAction(
            path="/bin/sh",
            args=("-c", "id; pwd; ulimit -n; env; tr '\\0' ' ' < /proc/$$/cmdline; exit 7"),
            env=(
                EnvironmentVariable(name="ODD", value="a 'b' $c"),
                EnvironmentVariable(name="LD_PRELOAD", value="/x"),
            ),
            user="vcap",
            resource_limits=ResourceLimits(nofile=123),
        )
        told = {}
        for privileged in (False, True):
            seen = len(cell.log.lines)
            await cell.start("", action=action, privileged=privileged)
            complete = await cell.until(EventKind.COMPLETE)
            assert complete.run_result.failure_reason == "APP: Exited with status 7"
            await cell.executor.delete("ig")
            lines = [line.payload.decode() for line in cell.log.lines[seen:]]
            own = ("Cell ", "CF_INSTANCE_")  # which differ by instance
            told[privileged] = [line for line in lines if not line.startswith(own)]
        assert "ODD=a 'b' $c" in told[True]
        assert told[True] == told[False]


async def test_what_cannot_start_in_a_privileged_container_is_no_exit_status(open_cell: OpenCell) -> None:
    async with open_cell(allow_privileged_containers=True) as cell:
        script = "printf '#!/no/such/interpreter\\n' > /tmp/x; chmod 755 /tmp/x"
        setup = RunAction(path="/bin/sh", args=("-c", script), user="vcap")
        await cell.start("", setup=setup, action=RunAction(path="/tmp/x", user="vcap"), privileged=True)
        complete = await cell.until(EventKind.COMPLETE)
        assert "exec /tmp/x: no such file or directory" in complete.run_result.failure_reason


async def test_new_privileges_can_be_ruled_out(open_cell: OpenCell) -> None:
    async with open_cell(container_no_new_privileges=True) as cell:
        assert fields(await cell.output(STATUS))["NoNewPrivs"] == "1"


async def test_what_is_ours_cannot_be_written(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        script = (
            "for path in /.cell/init /.cell/busybox /.cell/io/x; do "
            "(echo >> $path) 2>/dev/null && echo wrote $path; done; "
            "(echo 1 > /proc/sys/kernel/sysrq) 2>/dev/null && echo wrote sysrq; wc -c < /proc/keys"
        )
        assert await cell.output(script, user="root") == ["0"]


async def test_sockets_of_the_host_are_not_there(open_cell: OpenCell) -> None:
    """Neither the engine's, nor the agent's, nor any other one has a name in a container."""
    async with open_cell() as cell:
        script = "find / -path /proc -prune -o -type s -print; echo looked"
        assert await cell.output(script, user="root") == ["looked"]


async def test_a_neighbour_cannot_be_seen_or_signalled(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start("exec sleep 4321", guid="neighbour", user="root")
        await cell.until(EventKind.RUNNING)
        neighbour = await cell.engine.find("neighbour")
        assert neighbour is not None
        script = f"ps; kill -KILL {neighbour.init_pid} 2>/dev/null || echo nobody there"
        told = await cell.output(script, user="root", guid="curious")
        assert told[-1] == "nobody there"
        assert not [line for line in told if "4321" in line]
        assert cell.executor.container("neighbour").state is ContainerState.RUNNING
