"""Messages of the auction: the state of a cell, the work sent to it, and the work it refuses.

The models' codec reads input, with keys in any case. Output has the exact keys and order of the Go programs.
An empty list and null are distinct and stay distinct from request to work, so each type writes its own JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Self, TypeAlias

from bbs.models.codec import from_json, parse, to_json
from bbs.models.meta import FLATTEN, Int32, Json
from bbs.models.task import TaskState

Document: TypeAlias = dict[str, object]
OptionalStrings: TypeAlias = tuple[str, ...] | None

ARBITRARY: Final = "arbitrary"
FIXED_SET: Final = "fixed_set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Capacity of a cell, total or available."""

    memory_mb: Annotated[Int32, Json("MemoryMB")] = 0
    disk_mb: Annotated[Int32, Json("DiskMB")] = 0
    containers: Annotated[Int32, Json("Containers")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Constraints and resources of a workload. Its keys are flattened into the JSON of its owner."""

    placement_tags: Annotated[OptionalStrings, Json("PlacementTags")] = None
    volume_drivers: Annotated[OptionalStrings, Json("VolumeDrivers")] = None
    root_fs: Annotated[str, Json("RootFs")] = ""
    memory_mb: Annotated[Int32, Json("MemoryMB")] = 0
    disk_mb: Annotated[Int32, Json("DiskMB")] = 0
    max_pids: Annotated[Int32, Json("MaxPids")] = 0

    def to_json(self) -> Document:
        return {
            "PlacementTags": _list_or_null(self.placement_tags),
            "VolumeDrivers": _list_or_null(self.volume_drivers),
            "RootFs": self.root_fs,
            "MemoryMB": self.memory_mb,
            "DiskMB": self.disk_mb,
            "MaxPids": self.max_pids,
        }

    def problem(self) -> str:
        """Why the demand is invalid, empty if it is valid."""
        return "resources cannot be less than zero" if min(self.memory_mb, self.disk_mb) < 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LRP:
    """One instance on a cell, or to be placed on one (then without instance guid and state)."""

    instance_guid: str = ""
    process_guid: str = ""
    index: Int32 = 0
    domain: str = ""
    demand: Annotated[Demand, FLATTEN] = field(default_factory=Demand)
    state: str = ""

    def to_json(self) -> Document:
        return {
            "instance_guid": self.instance_guid,
            "process_guid": self.process_guid,
            "index": self.index,
            "domain": self.domain,
            **self.demand.to_json(),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task on a cell, or to be placed on one (then with state ``Invalid``)."""

    task_guid: Annotated[str, Json("TaskGuid")] = ""
    domain: Annotated[str, Json("Domain")] = ""
    demand: Annotated[Demand, FLATTEN] = field(default_factory=Demand)
    state: TaskState = TaskState.Invalid
    failed: bool = False

    def to_json(self) -> Document:
        return {
            "TaskGuid": self.task_guid,
            "Domain": self.domain,
            **self.demand.to_json(),
            "state": self.state.name,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work sent to a cell; in the response, the work that the cell refused."""

    lrps: Annotated[tuple[LRP, ...], Json("LRPs")] = ()
    tasks: Annotated[tuple[Task, ...], Json("Tasks")] = ()
    cell_id: str = ""

    @classmethod
    def loads(cls, body: str | bytes) -> Self:
        """Read a body of ``/work``. Raises InvalidDocument."""
        return from_json(cls, parse(body))

    def to_json(self) -> Document:
        return {
            "LRPs": [lrp.to_json() for lrp in self.lrps] or None,
            "Tasks": [task.to_json() for task in self.tasks] or None,
            **({"cell_id": self.cell_id} if self.cell_id else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The value of each member of a set that is encoded as an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFSProvider:
    """Supported root filesystems of one URL scheme: any (``arbitrary``), or the names of a ``fixed_set``."""

    set: Annotated[Mapping[str, Nothing] | None, Json("set", omit=True)] = None
    type: str = ""

    @classmethod
    def arbitrary(cls) -> Self:
        return cls(type=ARBITRARY)

    @classmethod
    def fixed_set(cls, *names: str) -> Self:
        return cls(type=FIXED_SET, set={name: Nothing() for name in sorted(names)})

    def accepts(self, name: str) -> bool:
        return self.type == ARBITRARY or (self.type == FIXED_SET and name in (self.set or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellState:
    """Resources, workloads and constraints of a cell. rootfs_providers: by URL scheme."""

    rep_url: str = ""
    cell_id: str = ""
    cell_index: Int32 = 0
    rootfs_providers: Annotated[Mapping[str, RootFSProvider], Json("RootFSProviders")] = field(
        default_factory=dict
    )
    available_resources: Annotated[Resources, Json("AvailableResources")] = Resources()
    total_resources: Annotated[Resources, Json("TotalResources")] = Resources()
    lrps: Annotated[tuple[LRP, ...], Json("LRPs")] = ()
    tasks: Annotated[tuple[Task, ...], Json("Tasks")] = ()
    starting_container_count: Annotated[Int32, Json("StartingContainerCount")] = 0
    zone: Annotated[str, Json("Zone")] = ""
    evacuating: Annotated[bool, Json("Evacuating")] = False
    volume_drivers: Annotated[OptionalStrings, Json("VolumeDrivers")] = None
    placement_tags: Annotated[OptionalStrings, Json("PlacementTags")] = None
    optional_placement_tags: Annotated[OptionalStrings, Json("OptionalPlacementTags")] = None
    proxy_memory_allocation_mb: Annotated[Int32, Json("ProxyMemoryAllocationMB")] = 0

    @classmethod
    def loads(cls, body: str | bytes) -> Self:
        """Read the body of ``/state``. Raises InvalidDocument."""
        return from_json(cls, parse(body))

    def to_json(self) -> Document:
        return {
            "rep_url": self.rep_url,
            "cell_id": self.cell_id,
            "cell_index": self.cell_index,
            "RootFSProviders": {
                scheme: to_json(provider) for scheme, provider in sorted(self.rootfs_providers.items())
            },
            "AvailableResources": to_json(self.available_resources),
            "TotalResources": to_json(self.total_resources),
            "LRPs": [lrp.to_json() for lrp in self.lrps],
            "Tasks": [task.to_json() for task in self.tasks],
            "StartingContainerCount": self.starting_container_count,
            "Zone": self.zone,
            "Evacuating": self.evacuating,
            "VolumeDrivers": _list_or_null(self.volume_drivers),
            "PlacementTags": _list_or_null(self.placement_tags),
            "OptionalPlacementTags": _list_or_null(self.optional_placement_tags),
            "ProxyMemoryAllocationMB": self.proxy_memory_allocation_mb,
        }


def _list_or_null(values: OptionalStrings) -> list[str] | None:
    return None if values is None else list(values)
