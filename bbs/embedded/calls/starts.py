"""Conversion of records to auction start requests."""

from __future__ import annotations

from collections.abc import Iterable

from bbs.embedded.auctioneer.types import LRPStartRequest, TaskStartRequest
from bbs.models.auction import Demand
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task
from bbs.models.workload import VolumeMount


def lrp_start(lrp: DesiredLRP, indices: Iterable[int], *, asked_for: bool = False) -> LRPStartRequest:
    """Start request for indices of an LRP.

    asked_for: a client has just desired or scaled the LRP; without volume drivers, send an empty list, not
    null.
    """
    drivers = _drivers(lrp.volume_mounts)
    return LRPStartRequest(
        process_guid=lrp.process_guid,
        domain=lrp.domain,
        indices=tuple(indices),
        demand=Demand(
            placement_tags=lrp.placement_tags or None,
            volume_drivers=drivers if asked_for else drivers or None,
            root_fs=lrp.root_fs,
            memory_mb=lrp.memory_mb,
            disk_mb=lrp.disk_mb,
            max_pids=lrp.max_pids,
        ),
    )


def task_start(task: Task) -> TaskStartRequest | None:
    """Start request for a task; None if the record has no definition."""
    definition = task.task_definition
    if definition is None:
        return None
    return TaskStartRequest(
        task_guid=task.task_guid,
        domain=task.domain,
        demand=Demand(
            placement_tags=definition.placement_tags or None,
            volume_drivers=_drivers(definition.volume_mounts),
            root_fs=definition.root_fs,
            memory_mb=definition.memory_mb,
            disk_mb=definition.disk_mb,
            max_pids=definition.max_pids,
        ),
    )


def _drivers(mounts: Iterable[VolumeMount]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mount.driver for mount in mounts))
