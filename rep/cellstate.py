"""The shapes of the auction: what a cell says it has, and what it is given. Values and their JSON, no I/O.

Read with the models' codec (keys in any case, values that fit their field); written here, because in
these shapes an empty list and ``null`` are different and come back as they came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from bbs.models.codec import from_json
from bbs.models.invalid import InvalidDocument
from bbs.models.meta import Int32, Json
from bbs.models.task import TaskState
from executor.model import Resources

Names = tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LRPWork:
    """An LRP instance in a work list or a cell state. Memory and disk in MiB."""

    instance_guid: str = ""
    process_guid: str = ""
    index: Int32 = 0
    domain: str = ""
    placement_tags: Annotated[Names, Json("PlacementTags")] = None
    volume_drivers: Annotated[Names, Json("VolumeDrivers")] = None
    root_fs: Annotated[str, Json("RootFs")] = ""
    memory_mb: Annotated[Int32, Json("MemoryMB")] = 0
    disk_mb: Annotated[Int32, Json("DiskMB")] = 0
    max_pids: Annotated[Int32, Json("MaxPids")] = 0
    state: str = ""

    def to_json(self) -> dict[str, Any]:
        """In the order and case of the Go programs."""
        return {
            "instance_guid": self.instance_guid,
            "process_guid": self.process_guid,
            "index": self.index,
            "domain": self.domain,
            **_placement(self.placement_tags, self.volume_drivers, self.root_fs),
            **_amounts(self.memory_mb, self.disk_mb, self.max_pids),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWork:
    """A task in a work list or a cell state. Memory and disk in MiB."""

    task_guid: Annotated[str, Json("TaskGuid")] = ""
    domain: Annotated[str, Json("Domain")] = ""
    placement_tags: Annotated[Names, Json("PlacementTags")] = None
    volume_drivers: Annotated[Names, Json("VolumeDrivers")] = None
    root_fs: Annotated[str, Json("RootFs")] = ""
    memory_mb: Annotated[Int32, Json("MemoryMB")] = 0
    disk_mb: Annotated[Int32, Json("DiskMB")] = 0
    max_pids: Annotated[Int32, Json("MaxPids")] = 0
    state: TaskState = TaskState.Invalid
    failed: bool = False

    def to_json(self) -> dict[str, Any]:
        """In the order and case of the Go programs."""
        return {
            "TaskGuid": self.task_guid,
            "Domain": self.domain,
            **_placement(self.placement_tags, self.volume_drivers, self.root_fs),
            **_amounts(self.memory_mb, self.disk_mb, self.max_pids),
            "state": self.state.name,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an auctioneer gives to a cell, and what the cell gives back of it."""

    lrps: Annotated[tuple[LRPWork, ...], Json("LRPs")] = ()
    tasks: Annotated[tuple[TaskWork, ...], Json("Tasks")] = ()
    cell_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """``cell_id`` only when there is one; nothing to say about LRPs or tasks is null."""
        written: dict[str, Any] = {
            "LRPs": [lrp.to_json() for lrp in self.lrps] or None,
            "Tasks": [task.to_json() for task in self.tasks] or None,
        }
        return {**written, "cell_id": self.cell_id} if self.cell_id else written


def read_work(body: bytes) -> Work:
    """A work list as sent. Raises InvalidDocument."""
    return from_json(Work, first_value(body))


def first_value(body: bytes) -> object:
    """The first JSON value of a body; peers' decoders do not look at what follows either.

    A bare ``null`` is an object nothing was said in. Raises InvalidDocument.
    """
    try:
        text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument("$", "JSON", f"a body that is not ({error})") from error
    return {} if value is None else value


def to_body(value: object) -> bytes:
    """Compact JSON with the escapes and the final newline of the Go programs."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES).encode("utf-8", "replace") + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellState:
    """What a cell tells an auctioneer about itself."""

    rep_url: str
    cell_id: str
    cell_index: int
    stacks: Sequence[str]
    supported_providers: Sequence[str]
    available: Resources
    total: Resources
    lrps: Sequence[LRPWork]
    tasks: Sequence[TaskWork]
    starting_container_count: int
    zone: str
    evacuating: bool
    volume_drivers: Sequence[str]
    placement_tags: Sequence[str]
    optional_placement_tags: Sequence[str]
    proxy_memory_allocation_mb: int

    def to_json(self) -> dict[str, Any]:
        """In the order and case of the Go programs."""
        return {
            "rep_url": self.rep_url,
            "cell_id": self.cell_id,
            "cell_index": self.cell_index,
            "RootFSProviders": _providers(self.stacks, self.supported_providers),
            "AvailableResources": _resources(self.available),
            "TotalResources": _resources(self.total),
            "LRPs": [lrp.to_json() for lrp in self.lrps],
            "Tasks": [task.to_json() for task in self.tasks],
            "StartingContainerCount": self.starting_container_count,
            "Zone": self.zone,
            "Evacuating": self.evacuating,
            "VolumeDrivers": list(self.volume_drivers),
            "PlacementTags": list(self.placement_tags),
            "OptionalPlacementTags": list(self.optional_placement_tags),
            "ProxyMemoryAllocationMB": self.proxy_memory_allocation_mb,
        }


def _providers(stacks: Sequence[str], supported: Sequence[str]) -> dict[str, Any]:
    providers: dict[str, Any] = {scheme: {"type": "arbitrary"} for scheme in supported}
    for scheme in ("preloaded", "preloaded+layer"):
        providers[scheme] = {"set": {stack: {} for stack in sorted(stacks)}, "type": "fixed_set"}
    return dict(sorted(providers.items()))


def _resources(resources: Resources) -> dict[str, int]:
    return {
        "MemoryMB": resources.memory_mb,
        "DiskMB": resources.disk_mb,
        "Containers": resources.containers,
    }


def _placement(tags: Names, drivers: Names, root_fs: str) -> Mapping[str, object]:
    return {
        "PlacementTags": None if tags is None else list(tags),
        "VolumeDrivers": None if drivers is None else list(drivers),
        "RootFs": root_fs,
    }


def _amounts(memory_mb: int, disk_mb: int, max_pids: int) -> Mapping[str, int]:
    return {"MemoryMB": memory_mb, "DiskMB": disk_mb, "MaxPids": max_pids}


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
