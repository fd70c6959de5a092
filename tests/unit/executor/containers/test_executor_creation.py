"""Creation of a container: requests to the engine, and the effect of each failing step."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.models.common import File, Network
from bbs.models.workload import SecurityGroupRule
from executor.cache.api import DownloadError
from executor.engine.api import BindMount
from executor.errors import EngineError, EngineUnavailable, ImageError, NetworkError
from executor.logs.api import Stream
from executor.model import (
    AllocationRequest,
    Container,
    ContainerState,
    EventKind,
    PortMapping,
    RunRequest,
    RunResult,
    VolumeMount,
)
from tests.support.executor_doubles import allocation, begin, run_request

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit


async def failure(world: World, allocation: AllocationRequest, request: RunRequest) -> Container:
    """Run it, expect the creation to fail, and check that deleting gives everything back."""
    async with world.running() as (executor, events):
        executor.allocate([allocation])
        await executor.run(request)
        complete = await events.until(EventKind.COMPLETE)
        await executor.delete(allocation.guid)
        assert executor.remaining_resources() == executor.total_resources()
    assert world.groups.groups == {}
    assert world.engine.containers == {}
    assert world.network.mappings == {}
    assert len(world.network.free) == 10
    return complete


def retryable(reason: str) -> RunResult:
    return RunResult(failed=True, failure_reason=reason, retryable=True)


@pytest.mark.parametrize("error", [DownloadError("connection refused"), OSError("disk full")])
async def test_cached_dependencies_fail(world: World, error: Exception) -> None:
    world.dependencies.result = error
    complete = await failure(world, allocation(), run_request())
    assert complete.run_result == retryable("failed to download cached artifacts")
    assert "ContainerSetupFailedDuration" in world.meter.snapshot().gauges


async def test_volumes_cannot_be_mounted(world: World) -> None:
    volume = VolumeMount(driver="nfs", volume_id="v1", container_dir="/data", read_only=False)
    complete = await failure(world, allocation(), run_request(volume_mounts=(volume,)))
    assert complete.run_result == retryable("failed to mount volume")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../other/secret", "db/../../x"])
async def test_service_files_outside_of_their_directory(world: World, tmp_path: Path, path: str) -> None:
    world.configure(volume_mounted_files=str(tmp_path / "service-files"))
    request = run_request(volume_mounted_files=(File(path=path, content="s"),))
    complete = await failure(world, allocation(), request)
    assert complete.run_result == retryable("failed to create volume mounted files")
    assert list((tmp_path / "service-files" / "cell-cell-1").iterdir()) == []


async def test_service_files_of_a_killed_life_go_and_those_of_another_cell_stay(
    world: World, tmp_path: Path
) -> None:
    """A task guid that is used again is not refused for the files that its last use left."""
    left = tmp_path / "service-files" / "cell-cell-1" / "ig" / "db"
    others = tmp_path / "service-files" / "cell-cell-2" / "ig"
    for folder in (left, others):
        folder.mkdir(parents=True)
    (left / "password").write_text("old")
    world.configure(volume_mounted_files=str(tmp_path / "service-files"))
    async with world.running() as (executor, _):
        assert not left.exists()
        await begin(executor, volume_mounted_files=(File(path="db/user", content="u"),))
        await world.group("ig")
        assert [file.name for file in left.iterdir()] == ["user"]
        await executor.delete("ig")
    assert others.exists()


async def test_service_files_without_a_place_for_them(world: World) -> None:
    request = run_request(volume_mounted_files=(File(path="db/password", content="s"),))
    complete = await failure(world, allocation(), request)
    assert complete.run_result == retryable("failed to create volume mounted files")


@pytest.mark.parametrize(
    "error", [EngineError("no space left on device"), ImageError("registry.example: no such image")]
)
async def test_the_engine_refuses(world: World, error: EngineError) -> None:
    world.engine.failures["create"] = [error]
    complete = await failure(world, allocation(), run_request(ports=(8080,)))
    assert complete.run_result == retryable(f"failed to create container: {error}")
    line = world.sink.lines[1]
    assert line.payload.decode() == f"Cell cell-1 failed to create container for instance ig: {error}"
    assert line.stream is Stream.ERR


async def test_a_creation_waits_for_an_engine_that_comes_and_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is about to end still answers a ping, but not the call after it."""
    monkeypatch.setattr("executor.containers.creation.ENGINE_PAUSE_S", 0)
    async with world.running() as (executor, _):
        world.engine.failures["create"] = [EngineUnavailable("gone"), EngineUnavailable("gone")]
        world.engine.failures["destroy"] = [EngineUnavailable("gone again")]
        await begin(executor)
        await world.group("ig")
        assert executor.container("ig").state is ContainerState.CREATED
        await executor.delete("ig")


async def test_a_creation_does_not_wait_forever_for_an_engine_that_answers_pings_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.containers.creation.ENGINE_PAUSE_S", 0)
    monkeypatch.setattr("executor.containers.creation.ENGINE_ABSENCE_S", 0)
    world.engine.failures["create"] = [EngineUnavailable("create container ig: no answer")]
    complete = await failure(world, allocation(), run_request())
    assert complete.run_result == retryable("failed to create container: create container ig: no answer")


async def test_no_host_ports_left(world: World) -> None:
    complete = await failure(world, allocation(), run_request(ports=tuple(range(8000, 8011))))
    assert complete.run_result == retryable("failed to create container: no free host ports")
    assert "create ig" not in world.engine.calls


async def test_ports_cannot_be_mapped(world: World) -> None:
    world.network.failures["attach"] = [NetworkError("nft: table is gone")]
    complete = await failure(world, allocation(), run_request(ports=(8080,)))
    assert complete.run_result == retryable("failed to create container: nft: table is gone")
    assert world.engine.calls.count("destroy ig") == 2


async def test_a_missing_mount_source_is_named(world: World) -> None:
    world.configure(declarative_healthcheck_path="/nowhere/healthcheck")
    complete = await failure(world, allocation(), run_request())
    assert complete.run_result == retryable(
        "failed to create container: what belongs at /etc/cf-assets/healthcheck is missing on the cell"
    )


async def test_an_invalid_egress_rule(world: World) -> None:
    rules = (
        SecurityGroupRule(protocol="all", destinations=("0.0.0.0/0",)),
        SecurityGroupRule(protocol="tcp", destinations=("10.0.0.0/8",)),
    )
    world.dependencies.result = DownloadError("a check that costs nothing comes before downloads")
    complete = await failure(world, allocation(), run_request(egress_rules=rules))
    assert complete.run_result == retryable(
        "failed to create container: Missing required field: ports or port_range"
    )


async def test_what_the_engine_is_given(world: World, tmp_path: Path) -> None:
    for name in ("certs", "healthcheck", "dependency"):
        (tmp_path / name).mkdir()
    world.dependencies.result = (BindMount(source=str(tmp_path / "dependency"), target="/tmp/lifecycle"),)
    world.configure(
        trusted_system_certificates_path=str(tmp_path / "certs"),
        volume_mounted_files=str(tmp_path / "service-files"),
        declarative_healthcheck_path=str(tmp_path / "healthcheck"),
        container_max_cpu_shares=1000,
        container_max_cpu_percent=50.0,
        allow_privileged_containers=True,
    )
    request = run_request(
        image_username="user",
        image_password="secret",
        privileged=True,
        cpu_weight=33,
        env=(("A", "1"), ("B", "2")),
        trusted_system_certificates_path="/etc/cf-system-certificates",
        network=Network(properties={"policy_group_id": "app"}),
        volume_mounted_files=(File(path="db/password", content="s3"),),
    )
    async with world.running() as (executor, _):
        executor.allocate([allocation(memory_mb=64, disk_mb=32, max_pids=99)])
        await executor.run(request)
        await world.group("ig")
        spec = world.engine.containers["ig"]
        container = executor.container("ig")
        service_files = tmp_path / "service-files" / "cell-cell-1" / "ig"
        assert (service_files / "db" / "password").read_text() == "s3"
        assert (service_files / "db").stat().st_mode & 0o777 == 0o755
        assert (service_files / "db" / "password").stat().st_mode & 0o777 == 0o644
        await executor.delete("ig")
        assert not service_files.exists()
    assert (spec.root_fs, spec.image_username, spec.image_password) == ("docker:///busybox", "user", "secret")
    assert (spec.memory_bytes, spec.disk_bytes) == (64 << 20, 32 << 20)
    assert (container.memory_limit, container.disk_limit) == (64 << 20, 32 << 20)
    assert (spec.max_pids, spec.cpu_shares, spec.privileged) == (99, 330, True)
    assert (spec.cpu_percent, spec.no_new_privileges) == (16.5, False)
    assert spec.env == (("A", "1"), ("B", "2"), ("CF_SYSTEM_CERT_PATH", "/etc/cf-system-certificates"))
    assert [(mount.target, mount.read_only) for mount in spec.mounts] == [
        ("/tmp/lifecycle", True),
        ("/etc/cf-system-certificates", True),
        ("/etc/cf-service-bindings", True),
        ("/etc/cf-assets/healthcheck", True),
    ]
    assert spec.labels == {"network.policy_group_id": "app"}
    assert world.dependencies.released == ["ig"]


async def test_privileged_containers_are_for_cells_that_allow_them(world: World) -> None:
    world.dependencies.result = DownloadError("a check that costs nothing comes before downloads")
    complete = await failure(world, allocation(), run_request(privileged=True))
    assert complete.run_result == retryable(
        "failed to create container: privileged containers are not allowed on this cell "
        "(allow_privileged_containers is false)"
    )
    assert "create ig" not in world.engine.calls


async def test_memory_can_stand_for_the_cpu_weight(world: World) -> None:
    world.configure(set_cpu_weight=True)
    async with world.running() as (executor, _):
        executor.allocate([allocation(memory_mb=77)])
        await executor.run(run_request(cpu_weight=100))
        await world.group("ig")
        assert world.engine.containers["ig"].cpu_shares == 77


async def test_without_unproxied_mappings_no_host_port_is_taken(world: World) -> None:
    world.configure(enable_unproxied_port_mappings=False)
    async with world.running() as (executor, _):
        await begin(executor, ports=(8080,))
        await world.group("ig")
        assert executor.container("ig").ports == (PortMapping(container_port=8080),)
        assert world.network.mappings == {"ig": {}}


async def test_dependencies_that_cannot_be_released_keep_the_record(world: World) -> None:
    world.dependencies.release_failures = [OSError("busy")]
    async with world.running() as (executor, _):
        executor.allocate([allocation()])
        with pytest.raises(Exception, match="failed to cleanup bindmount artifacts"):
            await executor.delete("ig")
        assert [container.guid for container in executor.containers()] == ["ig"]
        await executor.delete("ig")
        assert executor.containers() == []


async def test_a_stop_during_a_creation_frees_its_slot(world: World) -> None:
    world.configure(create_work_pool_size=1)
    world.engine.gates["create"] = asyncio.Event()
    async with world.running() as (executor, _):
        executor.allocate([allocation("slow"), allocation("next")])
        await executor.run(run_request("slow", ports=(8080,)))
        await executor.run(run_request("next"))
        await world.engine.reached("create slow")
        await executor.delete("slow")
        assert len(world.network.free) == 10
        await world.engine.reached("create next")
