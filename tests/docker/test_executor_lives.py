"""The executor on a real engine: containers from reservation to deletion."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest
from docker import APIClient

from bbs.models.actions import ResourceLimits, RunAction
from bbs.models.workload import Check, CheckDefinition, TCPCheck
from executor.containers import destruction
from executor.engine.docker import DockerEngine
from executor.model import EventKind, RunResult
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]

LISTEN_ON_8080 = CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080)),))


async def test_a_server_lives_and_is_stopped(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start(
            "env > /tmp/env; exec httpd -f -p 8080 -h /tmp",
            ports=(8080, 2222),
            check_definition=LISTEN_ON_8080,
            env=(("GREETING", "hello world"),),
        )
        container = await cell.until(EventKind.RUNNING)
        host_ports = [mapping.host_port for mapping in container.ports]
        url = f"http://{container.external_ip}:{host_ports[0]}/env"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            environment = (await response.text()).splitlines()
        assert {line for line in environment if line.startswith("CF_INSTANCE")} == {
            f"CF_INSTANCE_IP={container.external_ip}",
            f"CF_INSTANCE_INTERNAL_IP={container.internal_ip}",
            f"CF_INSTANCE_PORT={host_ports[0]}",
            f"CF_INSTANCE_ADDR={container.external_ip}:{host_ports[0]}",
            f'CF_INSTANCE_PORTS=[{{"external":{host_ports[0]},"internal":8080}},'
            f'{{"external":{host_ports[1]},"internal":2222}}]',
        }
        assert {"GREETING=hello world", "USER=vcap", "HOME=/home/vcap"} <= set(environment)

        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        await cell.executor.stop("ig")
        complete = await cell.until(EventKind.COMPLETE)
        assert loop.time() - asked_at < 5
        assert complete.run_result == RunResult(stopped=True)
        await cell.executor.delete("ig")
        assert await cell.engine.list_guids() == set()
        assert cell.executor.remaining_resources() == cell.executor.total_resources()
    assert "Container became healthy" in cell.log.texts
    assert "Exit status 143" in cell.log.texts
    assert cell.log.texts[-2:] == [
        f"Cell {cell.name} destroying container for instance ig",
        f"Cell {cell.name} successfully destroyed container for instance ig",
    ]


async def test_a_crash_has_its_status_and_output(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start("echo to out; echo to err >&2; exit 7")
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(failed=True, failure_reason="APP: Exited with status 7")
        await cell.executor.delete("ig")
    assert {"to out", "to err", "Exit status 7"} <= set(cell.log.texts)


INSIDE = json.loads((GOLDEN_FILES / "wire/container/inside.json").read_text())
LOOK_AROUND = """
echo "id $(id -u) $(id -g)"
echo "cwd $(pwd)"
echo "umask $(umask)"
echo "hostname $(hostname)"
sed "s/^/hosts /" /etc/hosts
cgroup=/sys/fs/cgroup
echo "memory $(cat $cgroup/memory/memory.limit_in_bytes $cgroup/memory.max 2>/dev/null)"
echo "pids $(cat $cgroup/pids/pids.max $cgroup/pids.max 2>/dev/null)"
echo "cpu $(cat $cgroup/cpu/cpu.shares 2>/dev/null || echo "{cpu}")"
sed -n "s/^Max open files  */nofile /p" /proc/self/limits
grep -E "^(CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):" /proc/self/status
echo seen
"""


def recorded_inside(kind: str, guid: str, address: str) -> set[str]:
    """What :data:`LOOK_AROUND` prints in the recorded container of that kind."""
    sections, definition = INSIDE[kind]["sections"], INSIDE[kind]["definition"]
    ids = re.findall(r"\b(?:uid|gid)=(\d+)", sections["id"])
    status = re.findall(r"^(?:Cap(?:Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):\t.*$", sections["status"], re.M)
    # The recorded privileged container did not see its control groups.
    limits = {name: sections[key].splitlines()[0] for name, key in CGROUP.items()}
    assert kind == "task_privileged" or not [line for line in limits.values() if line.startswith("cat: ")]
    said = {
        f"id {' '.join(ids)}",
        f"cwd {sections['cwd'].strip()}",
        f"umask {sections['umask'].strip()}",
        f"hostname {guid}",
        "hosts 127.0.0.1 localhost",
        f"hosts {address} {guid}",
        *(f"{name} {line}" for name, line in limits.items() if not line.startswith("cat: ")),
        *status,
    }
    assert sections["hostname"].strip() in sections["hosts"], "a container knows itself by its guid"
    nofile = definition.get("nofile")  # otherwise that of the engine
    return said | ({f"nofile {nofile} {nofile} files"} if nofile else set())


CGROUP = {"memory": "memory_limit", "pids": "pids_limit", "cpu": "cpu"}


@pytest.mark.parametrize("kind", ["lrp_vcap", "task", "task_root", "task_uid", "task_privileged"])
async def test_a_container_looks_from_inside_as_recorded(open_cell: OpenCell, kind: str) -> None:
    definition = INSIDE[kind]["definition"]
    user, _, privileged = definition["user"].partition(", ")
    limits = ResourceLimits(nofile=definition.get("nofile"))
    cpu = INSIDE[kind]["sections"]["cpu"].splitlines()[0]
    script = LOOK_AROUND.replace("{cpu}", cpu)  # the second version of control groups has no shares
    action = RunAction(path="/bin/sh", args=("-c", script), user=user, resource_limits=limits)
    async with open_cell(allow_privileged_containers=True) as cell:
        await cell.start(
            "",
            action=action,
            privileged=bool(privileged),
            cpu_weight=10,
            allocation={"max_pids": definition["max_pids"]},
        )
        await cell.log.until_line("seen")
        address = cell.executor.container("ig").internal_ip
        printed = {" ".join(line.split()) for line in cell.log.texts}
        expected = {" ".join(line.split()) for line in recorded_inside(kind, "ig", address)}
        assert expected - printed == set()
        await cell.executor.delete("ig")


async def test_running_out_of_memory_is_said(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start(
            "dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?", allocation={"memory_mb": 32}
        )
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failure_reason == "APP: Exited with status 137 (out of memory)"
        await cell.executor.delete("ig")


async def test_a_program_that_is_not_there(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start("", action=RunAction(path="/no/such/program", user="vcap"))
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failed
        assert "/no/such/program" in complete.run_result.failure_reason
        assert "no such file or directory" in complete.run_result.failure_reason
        await cell.executor.delete("ig")


async def test_an_app_that_ignores_term_is_killed(open_cell: OpenCell) -> None:
    async with open_cell(graceful_shutdown_interval_s=0.5) as cell:
        await cell.start("trap '' TERM; echo deaf; while :; do sleep 1; done")
        await cell.until(EventKind.RUNNING)
        await cell.log.until_line("deaf")
        await cell.executor.stop("ig")
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result == RunResult(
            failed=True, failure_reason="exceeded graceful shutdown interval", stopped=True
        )
        await cell.executor.delete("ig")
    assert "Exit status 137 (exceeded 500ms graceful shutdown interval)" in cell.log.texts


HANGS_WHEN_TOLD_TO_STOP = (
    "trap 'echo stopping; while :; do sleep 1; done' TERM; echo up; while :; do sleep 1; done"
)


async def test_force_does_not_wait_for_an_app_that_hangs_while_it_stops(open_cell: OpenCell) -> None:
    async with open_cell(graceful_shutdown_interval_s=3600.0) as cell:
        await cell.start(HANGS_WHEN_TOLD_TO_STOP, ports=(8080,))
        await cell.until(EventKind.RUNNING)
        await cell.log.until_line("up")
        async with asyncio.TaskGroup() as group:
            deletion = group.create_task(cell.executor.delete("ig"))
            await cell.log.until_line("stopping")
            assert not deletion.done()
            async with asyncio.timeout(destruction.KILL_LIMIT_S):
                await cell.executor.force_destroy("ig")
                await deletion
        assert (await cell.until(EventKind.COMPLETE)).run_result.failure_reason == destruction.FORCED
        assert await cell.engine.list_guids() == set()
        assert cell.executor.remaining_resources() == cell.executor.total_resources()


async def test_force_does_not_wait_for_an_engine_that_hangs(
    open_cell: OpenCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destruction, "KILL_LIMIT_S", 1.0)
    async with open_cell(container_reap_interval_s=0.5) as cell:
        await cell.start("exec sleep 1000")
        await cell.until(EventKind.RUNNING)
        container = await cell.engine.find("ig")
        assert container is not None
        shim = psutil.Process(container.init_pid).parent()
        assert shim is not None
        assert "shim" in shim.name(), "who kills the container for the engine"
        shim.suspend()
        try:
            async with asyncio.timeout(10):
                await cell.executor.force_destroy("ig")
            assert cell.executor.containers() == []
            assert cell.executor.remaining_resources() == cell.executor.total_resources()
            assert await cell.engine.list_guids() == {"ig"}
        finally:
            shim.resume()
        async with asyncio.timeout(60):
            while True:
                if not await cell.engine.list_guids():
                    break
                await asyncio.sleep(0.1)


async def test_a_setup_that_will_not_end_holds_nobody_up(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        setup = RunAction(path="/bin/sh", args=("-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"))
        await cell.start("exec sleep 1000", setup=setup)
        await cell.log.until_line("deaf")
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        await cell.executor.delete("ig")
        assert loop.time() - asked_at < 5
        assert (await cell.until(EventKind.COMPLETE)).run_result == RunResult(stopped=True)


async def test_deleting_a_container_in_the_making_leaves_nothing(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        await cell.start("exec sleep 1000", ports=(8080,))
        await cell.log.until_line(f"Cell {cell.name} creating container for instance ig")
        await cell.executor.delete("ig")
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.stopped
        assert await cell.engine.list_guids() == set()
        assert cell.executor.remaining_resources() == cell.executor.total_resources()


async def test_many_at_once(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        for number in range(10):
            await cell.start("exec sleep 1000", guid=f"ig{number}", ports=(8080,))
        containers = [await cell.until(EventKind.RUNNING) for _ in range(10)]
        assert len({container.ports[0].host_port for container in containers}) == 10
        assert len({container.internal_ip for container in containers}) == 10
        async with asyncio.TaskGroup() as deletions:
            for container in containers:
                deletions.create_task(cell.executor.delete(container.guid))
        assert cell.executor.containers() == []


async def test_files_and_metrics_of_a_running_container(open_cell: OpenCell) -> None:
    async with open_cell(container_metrics_report_interval_s=0.1) as cell:
        await cell.start(
            "echo result > /tmp/result; dd if=/dev/zero of=/tmp/big bs=1M count=8; echo written; "
            "exec sleep 1000",
            env=(("A", "1"),),
        )
        await cell.log.until_line("written")
        assert await cell.executor.read_file("ig", "/tmp/result", 100) == b"result\n"
        await cell.until_true(lambda: "ig" in cell.executor.metrics())
        metrics = cell.executor.metrics()["ig"]
        assert metrics.memory_limit == 64 << 20
        assert 0 < metrics.memory_usage < 64 << 20
        assert metrics.cpu_time_ns > 0
        assert metrics.age_ns > 0
        assert metrics.rx_bytes is not None
        await cell.executor.delete("ig")


async def test_a_container_somebody_removed_is_noticed(
    open_cell: OpenCell, docker_client: APIClient, unique: str
) -> None:
    async with open_cell(container_reap_interval_s=0.2) as cell:
        await cell.start("exec sleep 1000")
        await cell.until(EventKind.RUNNING)
        [found] = docker_client.containers(filters={"name": f"{unique}-ig"})
        await asyncio.to_thread(docker_client.remove_container, found["Id"], force=True)
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failed
        await cell.executor.delete("ig")
        assert cell.executor.containers() == []


async def test_containers_of_an_earlier_life_are_wiped(open_cell: OpenCell, engine: DockerEngine) -> None:
    async with open_cell(leave=True) as cell:
        await cell.start("exec sleep 1000")
        await cell.until(EventKind.RUNNING)
    assert await engine.list_guids() == {"ig"}
    async with open_cell() as cell:
        assert await cell.engine.list_guids() == set()
        assert cell.executor.containers() == []


async def test_the_engine_passes_its_health_check(open_cell: OpenCell, rootfs_image: str) -> None:
    async with open_cell(sidecar_root_fs=rootfs_image) as cell:
        await cell.until_true(lambda: "GardenHealthCheckFailed" in cell.executor.meter.snapshot().gauges)
        assert cell.executor.healthy
