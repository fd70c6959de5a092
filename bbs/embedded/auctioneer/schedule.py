"""Placement of a batch on cells: a pure function of the batch and the cell states.

Every placement changes the working copy of its cell, so later items of the batch see it. Items are placed in
this order: instances with index 0 by memory descending, tasks by memory descending, the other instances by
(index, memory descending). The cell with the lowest score wins. The score is the mean used fraction of the
cell's resources after the placement, plus a weight per starting container, plus 1000 per instance of the same
process (per task for tasks), plus an optional first-fit weight per cell index within its zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from bbs.models.auction import LRP, CellState, Demand, Resources, Task, Work

LOCALITY_OFFSET: Final = 1000
"""Score of one instance of the same process (or one task) already on the cell."""

NO_CELLS: Final = "unable to communicate to compatible cells"
NO_ROOTFS: Final = "found no compatible cell for required rootfs"
NO_DRIVERS: Final = "found no compatible cell with required volume drivers"
IN_FLIGHT_LIMIT: Final = "waiting to start instance: reached in-flight start limit"
INSUFFICIENT: Final = "insufficient resources"

RESOURCES: Final = frozenset({"containers", "disk", "memory"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Scheduling weights, with the names and defaults of the auctioneer's configuration."""

    starting_container_weight: float = 0.25
    bin_pack_first_fit_weight: float = 0.0
    starting_container_count_maximum: int = 0


DEFAULT_WEIGHTS: Final = Weights()

Identifier = tuple[str, int] | str
"""(process guid, index) of an instance, or guid of a task."""


def identifier(item: LRP | Task) -> Identifier:
    """The key of an item in a batch."""
    return item.task_guid if isinstance(item, Task) else (item.process_guid, item.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Result of a batch: work per cell id, and unplaced items with the failure text for the BBS.

    objections: for each unplaced item, the reason of each cell, by cell id.
    """

    work: dict[str, Work]
    failed_lrps: tuple[tuple[LRP, str], ...] = ()
    failed_tasks: tuple[tuple[Task, str], ...] = ()
    objections: dict[Identifier, dict[str, str]] = field(default_factory=dict)


class NoPlacement(Exception):
    """No cell accepts this item; the message is the placement error or rejection reason."""


@dataclass(slots=True)
class _Cell:
    """Working copy of one cell, with the work of this batch."""

    state: CellState
    available: Resources
    starting: int
    instances: dict[str, int]
    task_count: int
    bin_pack_index: int = 0
    lrps: list[LRP] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    @classmethod
    def of(cls, state: CellState) -> _Cell:
        instances: dict[str, int] = {}
        for lrp in state.lrps:
            instances[lrp.process_guid] = instances.get(lrp.process_guid, 0) + 1
        return cls(
            state=state,
            available=state.available_resources,
            starting=state.starting_container_count,
            instances=instances,
            task_count=len(state.tasks),
        )

    def take(self, memory_mb: int, disk_mb: int) -> None:
        self.available = _minus(self.available, memory_mb, disk_mb)
        self.starting += 1

    def take_lrp(self, lrp: LRP) -> None:
        self.take(self.memory_for(lrp), lrp.demand.disk_mb)
        self.instances[lrp.process_guid] = self.instances.get(lrp.process_guid, 0) + 1
        self.lrps.append(lrp)

    def take_task(self, task: Task) -> None:
        self.take(task.demand.memory_mb, task.demand.disk_mb)
        self.task_count += 1
        self.tasks.append(task)

    def memory_for(self, lrp: LRP) -> int:
        return lrp.demand.memory_mb + self.state.proxy_memory_allocation_mb

    def objections(self, item: LRP | Task) -> list[str]:
        """All reasons why the cell cannot take the item; empty if it fits."""
        memory_mb = self.memory_for(item) if isinstance(item, LRP) else item.demand.memory_mb
        left = self.available
        short = {
            "memory": f"{left.memory_mb} MB of memory left, {memory_mb} needed",
            "disk": f"{left.disk_mb} MB of disk left, {item.demand.disk_mb} needed",
            "containers": f"room for {left.containers} containers left",
        }
        lacking = self.shortages(memory_mb, item.demand.disk_mb)
        return refusals(self.state, item.demand) + [short[name] for name in sorted(lacking)]

    def shortages(self, memory_mb: int, disk_mb: int) -> frozenset[str]:
        short = {
            "memory": self.available.memory_mb < memory_mb,
            "disk": self.available.disk_mb < disk_mb,
            "containers": self.available.containers < 1,
        }
        return frozenset(name for name, missing in short.items() if missing)


def schedule(
    cells: Iterable[CellState], lrps: Iterable[LRP], tasks: Iterable[Task], weights: Weights = DEFAULT_WEIGHTS
) -> Schedule:
    """Place a batch on the given cells. The arguments are not changed."""
    batch = _Batch([_Cell.of(state) for state in sorted(cells, key=_cell_order)], weights)
    ordered = sorted(lrps, key=lambda lrp: (lrp.index, -lrp.demand.memory_mb))
    for lrp in (lrp for lrp in ordered if lrp.index == 0):
        batch.place_lrp(lrp)
    for task in sorted(tasks, key=lambda task: -task.demand.memory_mb):
        batch.place_task(task)
    for lrp in (lrp for lrp in ordered if lrp.index > 0):
        batch.place_lrp(lrp)
    return batch.result()


class _Batch:
    """One scheduling run."""

    def __init__(self, cells: list[_Cell], weights: Weights) -> None:
        self._cells = cells
        self._weights = weights
        self._in_flight = sum(cell.starting for cell in cells)
        self._objections: dict[Identifier, dict[str, str]] = {}
        self._failed_lrps: list[tuple[LRP, str]] = []
        self._failed_tasks: list[tuple[Task, str]] = []
        for _, zone in groupby(cells, key=lambda cell: cell.state.zone):
            for position, cell in enumerate(zone):
                cell.bin_pack_index = position

    def place_lrp(self, lrp: LRP) -> None:
        try:
            self._best_for_lrp(lrp).take_lrp(lrp)
            self._in_flight += 1
        except NoPlacement as error:
            self._failed_lrps.append((lrp, str(error)))
            self._explain(lrp)

    def place_task(self, task: Task) -> None:
        try:
            self._best_for_task(task).take_task(task)
            self._in_flight += 1
        except NoPlacement as error:
            self._failed_tasks.append((task, str(error)))
            self._explain(task)

    def result(self) -> Schedule:
        return Schedule(
            work={
                cell.state.cell_id: Work(
                    lrps=tuple(cell.lrps), tasks=tuple(cell.tasks), cell_id=cell.state.cell_id
                )
                for cell in self._cells
                if cell.lrps or cell.tasks
            },
            failed_lrps=tuple(self._failed_lrps),
            failed_tasks=tuple(self._failed_tasks),
            objections=self._objections,
        )

    def _explain(self, item: LRP | Task) -> None:
        self._objections[identifier(item)] = {
            cell.state.cell_id: "; ".join(why) for cell in self._cells if (why := cell.objections(item))
        }

    def _candidates(self, demand: Demand) -> list[_Cell]:
        """Cells that match the constraints of the workload. Raises NoPlacement."""
        if not self._cells:
            raise NoPlacement(NO_CELLS)
        maximum = self._weights.starting_container_count_maximum
        if maximum > 0 and self._in_flight >= maximum:
            raise NoPlacement(IN_FLIGHT_LIMIT)
        cells = self._cells
        for accepts, text in CONSTRAINTS:
            cells = [cell for cell in cells if accepts(cell.state, demand)]
            if not cells:
                raise NoPlacement(text(demand))
        return cells

    def _best_for_lrp(self, lrp: LRP) -> _Cell:
        cells = self._candidates(lrp.demand)
        per_zone: dict[str, int] = {}
        for cell in self._cells:
            zone = cell.state.zone
            per_zone[zone] = per_zone.get(zone, 0) + cell.instances.get(lrp.process_guid, 0)

        short: list[frozenset[str]] = []
        for count in sorted({per_zone[cell.state.zone] for cell in cells}):
            fitting: list[_Cell] = []
            for cell in cells:
                if per_zone[cell.state.zone] == count:
                    shortage = cell.shortages(cell.memory_for(lrp), lrp.demand.disk_mb)
                    short.append(shortage)
                    if not shortage:
                        fitting.append(cell)
            if fitting:
                return min(fitting, key=lambda cell: self._lrp_score(cell, lrp))
        raise NoPlacement(insufficient(short))

    def _best_for_task(self, task: Task) -> _Cell:
        cells = self._candidates(task.demand)
        short = [cell.shortages(task.demand.memory_mb, task.demand.disk_mb) for cell in cells]
        fitting = [cell for cell, shortage in zip(cells, short, strict=True) if not shortage]
        if not fitting:
            raise NoPlacement(insufficient(short))
        return min(fitting, key=lambda cell: self._task_score(cell, task))

    def _lrp_score(self, cell: _Cell, lrp: LRP) -> float:
        return (
            self._load_score(cell, cell.memory_for(lrp), lrp.demand.disk_mb)
            + LOCALITY_OFFSET * cell.instances.get(lrp.process_guid, 0)
            + self._weights.bin_pack_first_fit_weight * cell.bin_pack_index
        )

    def _task_score(self, cell: _Cell, task: Task) -> float:
        load = self._load_score(cell, task.demand.memory_mb, task.demand.disk_mb)
        return load + LOCALITY_OFFSET * cell.task_count

    def _load_score(self, cell: _Cell, memory_mb: int, disk_mb: int) -> float:
        remaining = _minus(cell.available, memory_mb, disk_mb)
        return used_fraction(remaining, cell.state.total_resources) + (
            self._weights.starting_container_weight * cell.starting
        )


def used_fraction(remaining: Resources, total: Resources) -> float:
    """Mean of the used fractions of memory, disk and containers. A resource with total 0 counts as unused."""
    pairs = (
        (remaining.memory_mb, total.memory_mb),
        (remaining.disk_mb, total.disk_mb),
        (remaining.containers, total.containers),
    )
    return sum(1 - left / whole for left, whole in pairs if whole) / len(pairs)


def insufficient(shortages: Sequence[frozenset[str]]) -> str:
    """The failure text for a workload that fits on no cell; it names what is short on every candidate."""
    everywhere = sorted(RESOURCES.intersection(*shortages))
    return f"{INSUFFICIENT}: {', '.join(everywhere)}" if everywhere else INSUFFICIENT


def rootfs_accepted(state: CellState, demand: Demand) -> bool:
    """The URL's scheme is a provider of the cell; for a fixed set, its opaque part is in the set."""
    scheme, colon, rest = demand.root_fs.partition(":")
    provider = state.rootfs_providers.get(scheme.lower()) if colon else None
    return provider is not None and provider.accepts(rest.partition("?")[0])


def drivers_accepted(state: CellState, demand: Demand) -> bool:
    """The cell has every requested driver."""
    return set(demand.volume_drivers or ()) <= set(state.volume_drivers or ())


def tags_accepted(state: CellState, demand: Demand) -> bool:
    """The request has all required tags of the cell, and only tags that the cell has."""
    requested, required = set(demand.placement_tags or ()), set(state.placement_tags or ())
    return required <= requested <= required | set(state.optional_placement_tags or ())


def refusals(state: CellState, demand: Demand) -> list[str]:
    """Constraints of the workload that the cell does not meet, as text."""
    found = []
    if not rootfs_accepted(state, demand):
        known = ", ".join(sorted(_rootfs_names(state))) or "none"
        found.append(f"no root filesystem {demand.root_fs} (it has {known})")
    missing = sorted(set(demand.volume_drivers or ()) - set(state.volume_drivers or ()))
    found += [f"no volume driver {name}" for name in missing]
    requested, required = set(demand.placement_tags or ()), set(state.placement_tags or ())
    found += [f"only for work with placement tag {tag}" for tag in sorted(required - requested)]
    offered = required | set(state.optional_placement_tags or ())
    found += [f"no placement tag {tag}" for tag in sorted(requested - offered)]
    return found


def _rootfs_names(state: CellState) -> Iterator[str]:
    for scheme, provider in state.rootfs_providers.items():
        if provider.set is None:
            yield f"{scheme}:*"
        else:
            yield from (f"{scheme}:{name}" for name in provider.set)


def no_tags_text(demand: Demand) -> str:
    """The failure text for a workload whose placement tags match no cell."""
    tags = [f'"{tag}"' for tag in demand.placement_tags or ()]
    if not tags:
        return "found no compatible cell with no placement tags"
    if len(tags) == 1:
        return f"found no compatible cell with placement tag {tags[0]}"
    return f"found no compatible cell with placement tags {', '.join(tags[:-1])} and {tags[-1]}"


Accepts = Callable[[CellState, Demand], bool]
Text = Callable[[Demand], str]

CONSTRAINTS: Final[tuple[tuple[Accepts, Text], ...]] = (
    (rootfs_accepted, lambda _: NO_ROOTFS),
    (drivers_accepted, lambda _: NO_DRIVERS),
    (tags_accepted, no_tags_text),
)
"""Checked in this order; the first constraint that no cell meets gives the failure text."""


def _minus(resources: Resources, memory_mb: int, disk_mb: int) -> Resources:
    return Resources(
        memory_mb=resources.memory_mb - memory_mb,
        disk_mb=resources.disk_mb - disk_mb,
        containers=resources.containers - 1,
    )


def _cell_order(state: CellState) -> tuple[str, int, str]:
    return state.zone, state.cell_index, state.cell_id
