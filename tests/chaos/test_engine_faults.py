"""Faults of the container engine: errors, lost answers, a hang, a restart, and changes by other programs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from docker import APIClient

from bbs.models.workload import Check, CheckDefinition, TCPCheck
from executor.containers.machine import MISSING
from executor.engine.createrequest import LABEL_CELL
from executor.errors import ExecutorError
from executor.model import ContainerState, EventKind, RunResult
from tests.support.faults import FaultProxy, Hang, LoseAnswer, Status
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.cell import Cell
    from tests.support.engines import OpenEngine

pytestmark = [
    pytest.mark.docker,
    # the engine's SDK leaves the socket of a refused connection to the garbage collector
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]
OpenFaulty = Callable[..., AbstractAsyncContextManager[tuple["Cell", FaultProxy]]]

ENGINE = "/var/run/docker.sock"
CREATE = r"POST .*/containers/create"
START = r"POST .*/containers/[^/]+/start"
REMOVE = r"DELETE .*/containers/.*"
EXEC_CREATE = r"POST .*/containers/[^/]+/exec"
EXEC_START = r"POST .*/exec/[^/]+/start"
QUICK_HEALTH = {
    "garden_healthcheck_interval_s": 0.2,
    "garden_healthcheck_timeout_s": 5.0,  # a busy machine is no defect of an engine
    "garden_healthcheck_command_retry_pause_s": 0.1,
}


@pytest.fixture(autouse=True)
def sockets_of_the_sdk() -> Iterator[None]:
    """The garbage of a test is collected in it."""
    yield
    gc.collect()


@pytest.fixture
def faulty(open_cell: OpenCell, tmp_path: Path) -> OpenFaulty:
    """A cell with a fault proxy before its engine: ``async with faulty(setting=...) as (cell, proxy)``."""

    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[tuple[Cell, FaultProxy]]:
        async with (
            FaultProxy.before_engine(tmp_path, ENGINE) as proxy,
            open_cell(docker_host=proxy.url, **settings) as cell,
        ):
            yield cell, proxy

    return opened


def containers(client: APIClient, cell: Cell) -> list[str]:
    found = client.containers(all=True, filters={"label": f"{LABEL_CELL}={cell.name}"})
    return [each["Id"] for each in found]


@pytest.mark.parametrize("call", [CREATE, START])
async def test_a_creation_that_fails_leaves_no_container(
    faulty: OpenFaulty, docker_client: APIClient, call: str
) -> None:
    async with faulty() as (cell, proxy):
        with proxy.fault(call, Status(500), times=1) as fault:
            await cell.start("exec sleep 1000", ports=(8080,))
            complete = await cell.until(EventKind.COMPLETE)
        assert fault.calls == 1
        assert complete.run_result.failed
        assert complete.run_result.retryable
        assert containers(docker_client, cell) == []
        await cell.executor.delete("ig")
        assert cell.executor.remaining_resources() == cell.executor.total_resources()


@pytest.mark.parametrize("call", [CREATE, START])
async def test_a_creation_whose_answer_is_lost_is_repeated(
    faulty: OpenFaulty, docker_client: APIClient, call: str
) -> None:
    """The container of the lost answer is not left behind."""
    async with faulty() as (cell, proxy):
        with proxy.fault(call, LoseAnswer(), times=1) as fault:
            await cell.start("exec sleep 1000", ports=(8080,))
            await cell.until(EventKind.RUNNING)
        assert fault.calls == 1
        assert len(containers(docker_client, cell)) == 1
        await cell.executor.delete("ig")
        assert containers(docker_client, cell) == []
        assert cell.executor.remaining_resources() == cell.executor.total_resources()


@pytest.mark.parametrize("call", [EXEC_CREATE, EXEC_START])
@pytest.mark.parametrize("effect", [LoseAnswer(), Status(500)], ids=["lost", "500"])
async def test_a_start_of_a_process_that_fails_leaves_no_process(
    faulty: OpenFaulty, call: str, effect: LoseAnswer | Status
) -> None:
    async with faulty() as (cell, proxy):
        with proxy.fault(call, effect, times=1) as fault:
            await cell.start("echo ran; exec sleep 1000")
            complete = await cell.until(EventKind.COMPLETE)
        assert fault.calls == 1
        assert complete.run_result.failed
        container = await cell.engine.find("ig")
        assert container is not None
        folder = Path(f"/proc/{container.init_pid}/task/{container.init_pid}/children")
        await until(lambda: folder.read_text() == "", "the end of the processes in the container")
        assert "ran" not in cell.log.texts
        await cell.executor.delete("ig")


async def test_a_removal_that_fails_is_repeated(faulty: OpenFaulty, docker_client: APIClient) -> None:
    async with faulty() as (cell, proxy):
        await cell.start("exec sleep 1000", ports=(8080,))
        await cell.until(EventKind.RUNNING)
        with (
            proxy.fault(REMOVE, Status(500, "device or resource busy"), times=1),
            pytest.raises(ExecutorError, match="device or resource busy"),
        ):
            await cell.executor.delete("ig")
        assert cell.executor.container("ig").state is ContainerState.COMPLETED
        with proxy.fault(REMOVE, LoseAnswer(), times=1), pytest.raises(ExecutorError):
            await cell.executor.delete("ig")
        await cell.executor.delete("ig")
        assert cell.executor.containers() == []
        assert containers(docker_client, cell) == []
        assert cell.executor.remaining_resources() == cell.executor.total_resources()


async def test_a_hung_engine_makes_the_cell_unhealthy_and_apps_go_on(faulty: OpenFaulty) -> None:
    async with faulty(**QUICK_HEALTH) as (cell, proxy):
        await cell.start(
            "while :; do echo tick; sleep 0.1; done & exec httpd -f -p 8080 -h /etc",
            ports=(8080,),
            check_definition=CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080, interval_ms=100)),)),
        )
        await cell.until(EventKind.RUNNING)
        await cell.until_true(lambda: cell.executor.healthy)
        with proxy.fault(".*", Hang()):
            await cell.until_true(lambda: not cell.executor.healthy)
            seen = len(cell.log.lines)
            await cell.until_true(lambda: "tick" in cell.log.texts[seen:])
            assert cell.executor.container("ig").state is ContainerState.RUNNING
        await cell.until_true(lambda: cell.executor.healthy)
        await cell.start("exec sleep 1000", guid="second")
        await cell.until(EventKind.RUNNING)


@pytest.mark.parametrize(
    "change",
    [
        lambda client, name: client.remove_container(name, force=True),
        lambda client, name: client.kill(name),
        lambda client, name: client.stop(name, timeout=0),
    ],
    ids=["removed", "killed", "stopped"],
)
async def test_a_container_ended_from_outside_crashes_once(
    open_cell: OpenCell, docker_client: APIClient, change: Callable[[APIClient, str], None]
) -> None:
    async with open_cell(container_reap_interval_s=0.2) as cell:
        await cell.start("exec sleep 1000", ports=(8080,))
        await cell.until(EventKind.RUNNING)
        (name,) = containers(docker_client, cell)
        await asyncio.to_thread(change, docker_client, name)
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(failed=True, failure_reason=MISSING)
        await cell.executor.delete("ig")
        assert containers(docker_client, cell) == []


async def test_a_container_paused_from_outside_fails_its_check_and_is_destroyed(
    open_cell: OpenCell, docker_client: APIClient
) -> None:
    async with open_cell(graceful_shutdown_interval_s=0.5) as cell:
        await cell.start(
            "exec httpd -f -p 8080 -h /etc",
            ports=(8080,),
            check_definition=CheckDefinition(
                checks=(Check(tcp_check=TCPCheck(port=8080, interval_ms=100, connect_timeout_ms=500)),)
            ),
        )
        await cell.until(EventKind.RUNNING)
        (name,) = containers(docker_client, cell)
        await asyncio.to_thread(docker_client.pause, name)
        await cell.executor.stop("ig")
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.stopped
        await cell.executor.delete("ig")
        assert containers(docker_client, cell) == []


async def test_an_image_removed_from_outside_is_made_again(
    open_cell: OpenCell, docker_client: APIClient, rootfs_archive: Path
) -> None:
    async with open_cell(rootfs=f"preloaded:{rootfs_archive}") as cell:
        await cell.start("exec sleep 1000")
        await cell.until(EventKind.RUNNING)
        (name,) = containers(docker_client, cell)
        image = docker_client.inspect_container(name)["Image"]
        await cell.executor.delete("ig")
        await asyncio.to_thread(docker_client.remove_image, image, force=True)
        await cell.start("exec sleep 1000", guid="second")
        await cell.until(EventKind.RUNNING)


async def test_apps_go_on_over_a_restart_of_an_engine_with_live_restore(
    own_engine: OpenEngine, open_cell: OpenCell, rootfs_archive: Path
) -> None:
    with own_engine("--live-restore") as engine:
        async with open_cell(
            docker_host=engine.docker_host,
            rootfs=f"preloaded:{rootfs_archive}",
            container_reap_interval_s=0.2,
            **QUICK_HEALTH,
        ) as cell:
            await cell.start("while :; do echo tick; sleep 0.1; done")
            before = await cell.until(EventKind.RUNNING)
            found = await cell.engine.find("ig")
            await asyncio.to_thread(engine.stop)
            await cell.until_true(lambda: not cell.executor.healthy)
            seen = len(cell.log.lines)
            await cell.until_true(lambda: "tick" in cell.log.texts[seen:])
            await asyncio.to_thread(engine.start)
            await cell.until_true(lambda: cell.executor.healthy)
            assert await cell.engine.find("ig") == found
            assert cell.executor.container("ig") == before
            await cell.start("exec sleep 1000", guid="second")
            await cell.until(EventKind.RUNNING)


async def test_each_container_crashes_once_in_a_restart_of_an_engine_without_live_restore(
    own_engine: OpenEngine, open_cell: OpenCell, rootfs_archive: Path
) -> None:
    with own_engine() as engine:
        async with open_cell(
            docker_host=engine.docker_host,
            rootfs=f"preloaded:{rootfs_archive}",
            container_reap_interval_s=0.2,
            **QUICK_HEALTH,
        ) as cell:
            await cell.start("exec sleep 1000")
            await cell.until(EventKind.RUNNING)
            await asyncio.to_thread(engine.stop)
            complete = await cell.until(EventKind.COMPLETE)
            assert complete.run_result == RunResult(failed=True, failure_reason=MISSING)
            await cell.start("exec sleep 1000", guid="again")
            await cell.until_true(lambda: not cell.executor.healthy)
            assert cell.executor.container("again").state is ContainerState.INITIALIZING
            await asyncio.to_thread(engine.start)
            again = await cell.until(EventKind.RUNNING)
            assert again.guid == "again", "what was placed meanwhile waits, and does not crash"
            await cell.until_true(lambda: cell.executor.healthy)
            await cell.executor.delete("ig")
