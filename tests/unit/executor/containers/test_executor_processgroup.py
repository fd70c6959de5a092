"""The composed executor with real steps, on a scripted engine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.models.actions import DownloadAction, RunAction
from bbs.models.common import EnvironmentVariable
from bbs.models.workload import Check, CheckDefinition, TCPCheck
from executor.assembly import assemble
from executor.cache.api import NO_CHECKSUM, Checksum, DownloadError, Fetched, Progress
from executor.containers.processgroup import checks_readiness
from executor.errors import ProcessStartError
from executor.executor import Executor
from executor.model import AllocationRequest, Container, EventKind, RunInfo, RunRequest, RunResult
from executor.telemetry.families import STAGE_DURATION
from tests.support.executor_doubles import allocation, begin, run_request

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit


class NothingToFetch:
    """A network without any server."""

    async def fetch_file(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        raise DownloadError(f"{url}: no route to host")

    async def fetch_directory(self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM) -> Fetched:
        raise DownloadError(f"{url}: no route to host")

    def hold(self, path: Path) -> Callable[[], None] | None:
        return None

    async def sweep(self) -> None:
        return

    async def upload(self, path: Path, url: str, *, progress: Progress | None = None) -> int:
        raise AssertionError(f"upload to {url}")


@pytest.fixture
def executor(world: World) -> Executor:
    return assembled(world)


def assembled(world: World) -> Executor:
    net = NothingToFetch()
    return assemble(
        world.config,
        journal=world.journal,
        engine=world.engine,
        probe_engine=world.probe_engine,
        network=world.network,
        sink=world.sink,
        fetcher=net,
        uploader=net,
        meter=world.meter,
        clock=world.clock,
    )


async def outcome(executor: Executor, allocation: AllocationRequest, request: RunRequest) -> RunResult:
    async with executor:
        with executor.subscribe() as events:
            executor.allocate([allocation])
            await executor.run(request)
            async for event in events:
                if event.kind is EventKind.COMPLETE:
                    return event.container.run_result
    raise AssertionError("the executor ended before the container")


async def test_a_process_gets_all_layers_of_its_environment(world: World, executor: Executor) -> None:
    action = RunAction(
        path="/app",
        user="vcap",
        env=(EnvironmentVariable(name="PORT", value="9"), EnvironmentVariable(name="OWN", value="1")),
    )
    request = run_request(
        action=action, ports=(8080, 2222), env=(("PORT", "8080"), ("CF_INSTANCE_IP", "forged"))
    )
    assert await outcome(executor, allocation(), request) == RunResult()
    [process] = world.engine.processes
    assert process.env == (
        ("PORT", "9"),
        ("CF_INSTANCE_IP", "192.0.2.9"),
        ("OWN", "1"),
        ("CF_INSTANCE_INTERNAL_IP", "10.255.0.7"),
        ("CF_INSTANCE_PORT", "61001"),
        ("CF_INSTANCE_ADDR", "192.0.2.9:61001"),
        ("CF_INSTANCE_PORTS", '[{"external":61001,"internal":8080},{"external":61002,"internal":2222}]'),
    )
    assert "Exit status 0" in world.sink.texts
    assert "ContainerSetupSucceededDuration" in world.meter.snapshot().gauges


async def test_a_failing_setup_is_the_reason(world: World, executor: Executor) -> None:
    setup = DownloadAction(artifact="droplet", from_="http://blobs/d", to="/home/vcap", user="vcap")
    result = await outcome(executor, allocation(), run_request(setup=setup))
    assert result == RunResult(failed=True, failure_reason="Downloading droplet failed")
    assert "ContainerSetupFailedDuration" in world.meter.snapshot().gauges
    assert world.engine.processes == []


def shown(world: World) -> dict[tuple[str, ...], int]:
    """How often each stage of a start was measured, by its outcome."""
    return {
        key: sum(each.counts)
        for values in world.meter.instruments.collect()
        if values.family is STAGE_DURATION
        for key, each in values.distributions.items()
    }


async def test_a_start_is_measured_in_stages(world: World, executor: Executor) -> None:
    await outcome(executor, allocation(), run_request())
    stages = ("allocate", "queue", "network", "setup", "start", "healthy")
    assert shown(world) == {(stage, "succeeded"): 1 for stage in stages}


async def test_a_start_that_fails_ends_with_a_failed_stage(world: World, executor: Executor) -> None:
    world.engine.failures["start_process"] = [ProcessStartError("no such program")]
    await outcome(executor, allocation(), run_request())
    assert [key for key in shown(world) if key[1] != "succeeded"] == [("start", "failed")]


async def test_nothing_to_run(executor: Executor) -> None:
    result = await outcome(executor, allocation(), run_request(action=None))
    assert result == RunResult(failed=True, failure_reason="container cannot have empty action")


async def test_a_non_zero_exit_names_its_source(world: World, executor: Executor) -> None:
    world.engine.exit_status = 3
    result = await outcome(executor, allocation(), run_request())
    assert result == RunResult(failed=True, failure_reason="APP: Exited with status 3")


@pytest.mark.parametrize("counted", [True, False])
async def test_failed_liveness_checks_are_counted_where_asked_for(world: World, counted: bool) -> None:
    world.configure(
        enable_healthcheck_metrics=counted,
        unhealthy_monitoring_interval_s=0.005,
        healthy_monitoring_interval_s=0.005,
        graceful_shutdown_interval_s=0.01,
    )
    world.engine.gates["exit"] = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    world.network.first_address = "127.0.0.1"
    executor = assembled(world)
    definition = CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=port)),))
    async with executor:
        with executor.subscribe() as events:
            await begin(executor, check_definition=definition)
            async for event in events:
                if event.kind is EventKind.RUNNING:
                    listener.close()
                if event.kind is EventKind.COMPLETE:
                    break
        assert event.container.run_result.failure_reason.startswith(
            "Instance became unhealthy: Liveness check"
        )
    counters = world.meter.snapshot().counters
    assert counters.get("TCPLivenessChecksFailedCount", 0) == (1 if counted else 0)


def test_only_valid_readiness_checks_hold_traffic_back() -> None:
    def holds(*checks: Check) -> bool:
        definition = CheckDefinition(readiness_checks=checks)
        return checks_readiness(Container(guid="ig", run_info=RunInfo(check_definition=definition)))

    assert holds(Check(tcp_check=TCPCheck(port=8080)))
    assert not holds(Check())
    assert not holds()
    assert not checks_readiness(Container(guid="ig"))
