"""Snapshots of the cell: its state for the auctioneer, its container metrics for operators.

Pure functions of the configuration and the executor's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bbs.models.auction import LRP, CellState, Demand, Resources, RootFSProvider, Task
from bbs.models.task import TaskState
from executor import model
from executor.api import ExecutorAPI
from executor.model import Container, ContainerMetrics, ContainerState
from rep import tags
from rep.config import RepConfig
from rep.rootfs import StackMap

STARTING = frozenset({ContainerState.RESERVED, ContainerState.INITIALIZING, ContainerState.CREATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CellIdentity:
    """The constants of a running cell."""

    config: RepConfig
    rep_url: str
    stacks: StackMap


def cell_state(identity: CellIdentity, executor: ExecutorAPI, *, evacuating: bool) -> CellState:
    """The auctioneer's view of the cell. Raises ExecutorError if the volume drivers cannot be listed."""
    config = identity.config
    containers = executor.containers()
    return CellState(
        rep_url=identity.rep_url,
        cell_id=config.cell_id,
        cell_index=config.cell_index,
        rootfs_providers=_providers(identity.stacks.names, config.supported_providers),
        available_resources=_resources(executor.remaining_resources()),
        total_resources=_resources(executor.total_resources()),
        lrps=tuple(work for work in (lrp_work(item, identity.stacks) for item in containers) if work),
        tasks=tuple(work for work in (task_work(item, identity.stacks) for item in containers) if work),
        starting_container_count=sum(container.state in STARTING for container in containers),
        zone=config.zone,
        evacuating=evacuating,
        volume_drivers=tuple(executor.volume_drivers()),
        placement_tags=config.placement_tags,
        optional_placement_tags=config.optional_placement_tags,
        proxy_memory_allocation_mb=config.proxy_allocation_mb,
    )


def lrp_work(container: Container, stacks: StackMap) -> LRP | None:
    """The state entry of an LRP container; None for other containers and for tags that name no LRP."""
    if container.tags.get(tags.LIFECYCLE) != tags.LRP_LIFECYCLE:
        return None
    try:
        key = tags.lrp_key(container)
    except tags.InvalidTags:
        return None
    return LRP(
        instance_guid=container.tags.get(tags.INSTANCE_GUID, ""),
        process_guid=key.process_guid,
        index=key.index,
        domain=key.domain,
        demand=_demand(container, stacks),
        state=_lrp_state(container),
    )


def task_work(container: Container, stacks: StackMap) -> Task | None:
    """The state entry of a task container; None for other containers."""
    if container.tags.get(tags.LIFECYCLE) != tags.TASK_LIFECYCLE:
        return None
    completed = container.state is ContainerState.COMPLETED
    return Task(
        task_guid=container.guid,
        domain=container.tags.get(tags.DOMAIN, ""),
        demand=_demand(container, stacks),
        state=TaskState.Completed if completed else TaskState.Running,
        failed=container.run_result.failed,
    )


def container_metrics(
    cell_id: str, containers: Iterable[Container], metrics: Mapping[str, ContainerMetrics]
) -> dict[str, Any]:
    """The body of ``/container_metrics``, without containers that have no reading."""
    lrps: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    for container in containers:
        reading = metrics.get(container.guid)
        if reading is None:
            continue
        lifecycle = container.tags.get(tags.LIFECYCLE)
        if lifecycle == tags.TASK_LIFECYCLE:
            tasks.append({"task_guid": container.guid, **_reading(container, reading)})
        elif lifecycle == tags.LRP_LIFECYCLE:
            try:
                key = tags.lrp_key(container)
            except tags.InvalidTags:
                continue
            who = {
                "instance_guid": container.guid,
                "process_guid": key.process_guid,
                "index": key.index,
            }
            lrps.append({**who, **_reading(container, reading)})
    return {"cell_id": cell_id, "lrps": lrps, "tasks": tasks}


def _reading(container: Container, reading: ContainerMetrics) -> dict[str, Any]:
    labels = container.run_info.metrics_config
    fraction = reading.cpu_percentage / 100
    body: dict[str, Any] = {
        "metric_guid": labels.tags.get("source_id") or labels.guid,
        "cpu_usage_fraction": int(fraction) if fraction.is_integer() else fraction,
        "disk_usage_bytes": reading.disk_usage,
        "disk_quota_bytes": reading.disk_limit,
        "memory_usage_bytes": reading.memory_usage,
        "memory_quota_bytes": reading.memory_limit,
    }
    if reading.rx_bytes is not None and reading.tx_bytes is not None:
        body |= {"rx_bytes": reading.rx_bytes, "tx_bytes": reading.tx_bytes}
    return body


def _lrp_state(container: Container) -> str:
    match container.state:
        case ContainerState.RUNNING:
            return "RUNNING"
        case ContainerState.COMPLETED:
            return "CRASHED" if container.run_result.failed else "SHUTDOWN"
        case _:
            return "CLAIMED"


def _demand(container: Container, stacks: StackMap) -> Demand:
    return Demand(
        placement_tags=_names(container, tags.PLACEMENT_TAGS),
        volume_drivers=_names(container, tags.VOLUME_DRIVERS),
        root_fs=stacks.describe(container.run_info.root_fs),
        memory_mb=container.memory_mb,
        disk_mb=container.disk_mb,
        max_pids=container.max_pids,
    )


def _providers(stacks: Iterable[str], supported: Iterable[str]) -> dict[str, RootFSProvider]:
    preloaded = RootFSProvider.fixed_set(*stacks)
    arbitrary = {scheme: RootFSProvider.arbitrary() for scheme in supported}
    return {**arbitrary, "preloaded": preloaded, "preloaded+layer": preloaded}


def _resources(resources: model.Resources) -> Resources:
    return Resources(
        memory_mb=resources.memory_mb, disk_mb=resources.disk_mb, containers=resources.containers
    )


def _names(container: Container, tag: str) -> tuple[str, ...] | None:
    found = tags.names(container.tags, tag)
    return None if found is None else tuple(found)
