"""What a cell has left while a batch is placed, and the score of a cell for a workload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from bbs.embedded.auctioneer.constraints import refusals
from bbs.models.auction import LRP, CellState, Resources, Task

RESOURCES: Final = ("containers", "disk", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Scheduling weights, with the names and defaults of the auctioneer's configuration.

    Raises ValueError for a negative starting_container_weight: a cell's score never falls during a batch.
    """

    starting_container_weight: float = 0.25
    bin_pack_first_fit_weight: float = 0.0
    starting_container_count_maximum: int = 0

    def __post_init__(self) -> None:
        if self.starting_container_weight < 0:
            raise ValueError("starting_container_weight must not be negative")


@dataclass(frozen=True, slots=True)
class Need:
    """Memory and disk of one workload, in MB. lrp: the cell adds its proxy's memory to an LRP's."""

    memory_mb: int
    disk_mb: int
    lrp: bool

    @classmethod
    def of(cls, item: LRP | Task) -> Need:
        return cls(item.demand.memory_mb, item.demand.disk_mb, isinstance(item, LRP))


@dataclass(slots=True)
class CellRoom:
    """Working copy of one cell, with the work of this batch.

    position: in the order of the cells of the batch. first_fit: position within the zone.
    """

    state: CellState
    position: int
    first_fit: int
    memory_mb: int
    disk_mb: int
    containers: int
    starting: int
    task_count: int
    instances: dict[str, int]
    lrps: list[LRP] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    @classmethod
    def of(cls, state: CellState, position: int, first_fit: int) -> CellRoom:
        instances: dict[str, int] = {}
        for lrp in state.lrps:
            instances[lrp.process_guid] = instances.get(lrp.process_guid, 0) + 1
        left = state.available_resources
        return cls(
            state=state,
            position=position,
            first_fit=first_fit,
            memory_mb=left.memory_mb,
            disk_mb=left.disk_mb,
            containers=left.containers,
            starting=state.starting_container_count,
            task_count=len(state.tasks),
            instances=instances,
        )

    def take(self, item: LRP | Task) -> None:
        """Place the item here."""
        need = Need.of(item)
        self.memory_mb -= self.memory_for(need)
        self.disk_mb -= need.disk_mb
        self.containers -= 1
        self.starting += 1
        if isinstance(item, LRP):
            self.instances[item.process_guid] = self.instances.get(item.process_guid, 0) + 1
            self.lrps.append(item)
        else:
            self.task_count += 1
            self.tasks.append(item)

    def similar(self, process_guid: str | None) -> int:
        """Instances of the process on this cell; its tasks for None."""
        return self.task_count if process_guid is None else self.instances.get(process_guid, 0)

    def memory_for(self, need: Need) -> int:
        return need.memory_mb + (self.state.proxy_memory_allocation_mb if need.lrp else 0)

    def fits(self, need: Need) -> bool:
        return (
            self.containers >= 1 and self.disk_mb >= need.disk_mb and self.memory_mb >= self.memory_for(need)
        )

    def lacks(self, resource: str, need: Need) -> bool:
        """Whether this one of :data:`RESOURCES` is short. Once it is, it stays so for the batch."""
        match resource:
            case "containers":
                return self.containers < 1
            case "disk":
                return self.disk_mb < need.disk_mb
            case _:
                return self.memory_mb < self.memory_for(need)

    def load(self, need: Need, weights: Weights) -> float:
        """The part of the score that is the same for all processes. It never falls during a batch."""
        remaining = Resources(
            memory_mb=self.memory_mb - self.memory_for(need),
            disk_mb=self.disk_mb - need.disk_mb,
            containers=self.containers - 1,
        )
        score = used_fraction(remaining, self.state.total_resources)
        score += weights.starting_container_weight * self.starting
        return score + weights.bin_pack_first_fit_weight * self.first_fit if need.lrp else score

    def objections(self, item: LRP | Task) -> list[str]:
        """All reasons why the cell cannot take the item; empty if it fits."""
        need = Need.of(item)
        short = {
            "memory": f"{self.memory_mb} MB of memory left, {self.memory_for(need)} needed",
            "disk": f"{self.disk_mb} MB of disk left, {need.disk_mb} needed",
            "containers": f"room for {self.containers} containers left",
        }
        lacking = [short[name] for name in RESOURCES if self.lacks(name, need)]
        return refusals(self.state, item.demand) + lacking


def used_fraction(remaining: Resources, total: Resources) -> float:
    """Mean of the used fractions of memory, disk and containers. A resource with total 0 counts as unused."""
    used = 0.0
    for left, whole in (
        (remaining.memory_mb, total.memory_mb),
        (remaining.disk_mb, total.disk_mb),
        (remaining.containers, total.containers),
    ):
        if whole > 0:
            used += 1 - left / whole
    return used / len(RESOURCES)


def rooms(states: list[CellState]) -> Iterator[CellRoom]:
    """Working copies of the cells, ordered by zone, index and id."""
    zone, first_fit = None, 0
    in_order = sorted(states, key=lambda state: (state.zone, state.cell_index, state.cell_id))
    for position, state in enumerate(in_order):
        zone, first_fit = state.zone, first_fit + 1 if state.zone == zone else 0
        yield CellRoom.of(state, position, first_fit)
