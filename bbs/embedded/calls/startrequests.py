"""Start requests from a BBS to an auctioneer: made of records, and read from JSON.

The other messages of auctions are in ``bbs.models.auction``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from bbs.models.auction import Demand, Document
from bbs.models.auction import Task as AuctionTask
from bbs.models.codec import from_json, parse
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.invalid import InvalidDocument, mismatch
from bbs.models.meta import FLATTEN, Int32, Json
from bbs.models.task import Task
from bbs.models.workload import VolumeMount

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LRPStartRequest:
    """Instances of one process that need a cell."""

    process_guid: str = ""
    domain: str = ""
    indices: tuple[Int32, ...] = ()
    demand: Annotated[Demand, FLATTEN] = field(default_factory=Demand)

    def to_json(self) -> Document:
        return {
            "process_guid": self.process_guid,
            "domain": self.domain,
            "indices": list(self.indices),
            **self.demand.to_json(),
        }

    def problem(self) -> str:
        """Why the request is invalid; empty if it is valid."""
        if not self.process_guid:
            return "process guid is empty"
        if not self.domain:
            return "domain is empty"
        if not self.indices:
            return "indices must not be empty"
        if min(self.indices) < 0:
            return "indices must not be negative"
        return self.demand.problem()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStartRequest:
    """A task that needs a cell."""

    task_guid: Annotated[str, Json("TaskGuid")] = ""
    domain: Annotated[str, Json("Domain")] = ""
    demand: Annotated[Demand, FLATTEN] = field(default_factory=Demand)

    def to_json(self) -> Document:
        return AuctionTask(task_guid=self.task_guid, domain=self.domain, demand=self.demand).to_json()

    def problem(self) -> str:
        """Why the request is invalid; empty if it is valid."""
        if not self.task_guid:
            return "task guid is empty"
        if not self.domain:
            return "domain is empty"
        return self.demand.problem()


def lrp_start(lrp: DesiredLRP, indices: Iterable[int], *, requested: bool = False) -> LRPStartRequest:
    """Start request for indices of an LRP.

    requested: a client has just desired or scaled the LRP; without volume drivers, send an empty list, not
    null.
    """
    drivers = _drivers(lrp.volume_mounts)
    return LRPStartRequest(
        process_guid=lrp.process_guid,
        domain=lrp.domain,
        indices=tuple(indices),
        demand=Demand(
            placement_tags=lrp.placement_tags or None,
            volume_drivers=drivers if requested else drivers or None,
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


def lrp_start_requests(body: str | bytes) -> tuple[LRPStartRequest, ...]:
    """The body of ``POST /v1/lrps``. Raises InvalidDocument."""
    return _read_list(LRPStartRequest, body)


def task_start_requests(body: str | bytes) -> tuple[TaskStartRequest, ...]:
    """The body of ``POST /v1/tasks``. Raises InvalidDocument."""
    return _read_list(TaskStartRequest, body)


def _read_list(cls: type[T], body: str | bytes) -> tuple[T, ...]:
    elements = parse(body)
    if not isinstance(elements, list):
        mismatch("a list of start requests", elements)
    read: list[T] = []
    for position, element in enumerate(elements):
        try:
            read.append(from_json(cls, element))
        except InvalidDocument as error:
            raise error.within(f"[{position}]") from None
    return tuple(read)


def _drivers(mounts: Iterable[VolumeMount]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mount.driver for mount in mounts))
