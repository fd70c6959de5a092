"""Placement of a batch on cells: a pure function of the batch and the cell states.

Every placement changes the working copy of its cell, so later items of the batch see it. Items are placed in
this order: instances with index 0 by memory descending, tasks by memory descending, the other instances by
(index, memory descending). The cell with the lowest score wins. The score is the mean used fraction of the
cell's resources after the placement, plus a weight per starting container, plus 1000 per instance of the same
process (per task for tasks), plus an optional first-fit weight per cell index within its zone.

Items with the same demand share a heap of cells for each zone. A cell's score never falls during a batch, so
a score in the heap is a lower bound: only cells at the top are scored again. A placement costs the logarithm
of the number of cells, not the number of cells.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final

from bbs.embedded.auctioneer.constraints import CONSTRAINTS
from bbs.embedded.auctioneer.room import RESOURCES, CellRoom, Need, Weights, rooms
from bbs.models.auction import LRP, CellState, Demand, Task, Work

LOCALITY_OFFSET: Final = 1000
"""Score of one instance of the same process (or one task) already on the cell."""

NO_CELLS: Final = "unable to communicate to compatible cells"
IN_FLIGHT_LIMIT: Final = "waiting to start instance: reached in-flight start limit"
INSUFFICIENT: Final = "insufficient resources"

OBJECTIONS: Final = 20
"""Most cells whose reasons are kept for an unplaced item."""

MANY: Final = 32
"""Instances of a process from which on it gets heaps of its own. They cost one score for each cell."""

DEFAULT_WEIGHTS: Final = Weights()

Identifier = tuple[str, int] | str
"""(process guid, index) of an instance, or guid of a task."""


def identifier(item: LRP | Task) -> Identifier:
    """The key of an item in a batch."""
    return item.task_guid if isinstance(item, Task) else (item.process_guid, item.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Items with the same demand that no cell takes, in their order.

    text: the placement error or rejection reason for the BBS. objections: the reasons of up to
    :data:`OBJECTIONS` cells, by cell id, from the moment when the first of the items was not placed.
    """

    text: str
    objections: Mapping[str, str]
    items: list[LRP | Task] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Result of a batch: work per cell id, and the unplaced items."""

    work: dict[str, Work]
    failures: tuple[Failure, ...] = ()

    @property
    def failed(self) -> list[tuple[LRP | Task, str]]:
        """Each unplaced item with its failure text."""
        return [(item, failure.text) for failure in self.failures for item in failure.items]


class NoPlacement(Exception):
    """No cell accepts this item; the message is the placement error or rejection reason."""


def schedule(
    cells: Iterable[CellState], lrps: Iterable[LRP], tasks: Iterable[Task], weights: Weights = DEFAULT_WEIGHTS
) -> Schedule:
    """Place a batch on the given cells. The arguments are not changed."""
    lrps = list(lrps)
    wanted = Counter(lrp.process_guid for lrp in lrps)
    batch = _Batch(list(rooms(list(cells))), weights, wanted)
    ordered = sorted(lrps, key=lambda lrp: (lrp.index, -lrp.demand.memory_mb))
    for lrp in (lrp for lrp in ordered if lrp.index == 0):
        batch.place(lrp)
    for task in sorted(tasks, key=lambda task: -task.demand.memory_mb):
        batch.place(task)
    for lrp in (lrp for lrp in ordered if lrp.index > 0):
        batch.place(lrp)
    return batch.result()


Heap = list[tuple[float, int]]
"""Lower bounds of scores with the cell's position."""


class _Candidates:
    """The cells that match the constraints of a demand, by zone and in the order of their scores."""

    def __init__(self, cells: Sequence[CellRoom], need: Need, weights: Weights) -> None:
        self._cells = cells
        self._need = need
        self._weights = weights
        self._not_lacking = dict.fromkeys(RESOURCES, 0)
        self._by_position = {cell.position: cell for cell in cells}
        self._by_zone = {
            zone: list(inside) for zone, inside in groupby(cells, key=lambda cell: cell.state.zone)
        }
        self._heaps: dict[tuple[str, str | None], Heap] = {}

    @property
    def zones(self) -> Iterable[str]:
        return self._by_zone

    def best(self, zones: Iterable[str], process_guid: str | None, *, of_its_own: bool) -> CellRoom | None:
        """The cell of these zones with the lowest score; None if the item fits on none.

        process_guid: None for a task. of_its_own: use heaps for this process alone, which contain the score
        of its instances. They pay for a process with many instances: without them, every cell that already
        has instances is looked at for every further one.
        """
        best: CellRoom | None = None
        lowest = (math.inf, 0)
        for zone in zones:
            heap = self._heap(zone, process_guid if of_its_own else None)
            looked_at: Heap = []
            while heap and heap[0] < lowest:
                bound, position = heap[0]
                cell = self._by_position[position]
                if not cell.fits(self._need):
                    heapq.heappop(heap)  # it will not fit later in this batch either
                    continue
                load = cell.load(self._need, self._weights)
                score = load + LOCALITY_OFFSET * cell.similar(process_guid)
                known = score if of_its_own else load
                if known > bound:
                    heapq.heapreplace(heap, (known, position))
                    continue
                looked_at.append(heapq.heappop(heap))
                if (score, position) < lowest:
                    lowest, best = (score, position), cell
            for entry in looked_at:
                heapq.heappush(heap, entry)
        return best

    def _heap(self, zone: str, process_guid: str | None) -> Heap:
        """The heap of a zone: of the loads, or of one process with the score of its instances."""
        key = zone, process_guid
        if key not in self._heaps:
            heap = []
            for cell in self._by_zone[zone]:
                if cell.fits(self._need):
                    same = 0 if process_guid is None else cell.similar(process_guid)
                    score = cell.load(self._need, self._weights) + LOCALITY_OFFSET * same
                    heap.append((score, cell.position))
            heapq.heapify(heap)
            self._heaps[key] = heap
        return self._heaps[key]

    def insufficient(self) -> str:
        """The failure text after no cell had room: it names what is short on every candidate.

        A resource that is short on a cell stays short for the batch, so each cell is looked at once.
        """
        everywhere = []
        for resource in RESOURCES:
            position = self._not_lacking[resource]
            while position < len(self._cells) and self._cells[position].lacks(resource, self._need):
                position += 1
            self._not_lacking[resource] = position
            if position == len(self._cells):
                everywhere.append(resource)
        return f"{INSUFFICIENT}: {', '.join(everywhere)}" if everywhere else INSUFFICIENT


class _Batch:
    """One scheduling run."""

    def __init__(self, cells: list[CellRoom], weights: Weights, wanted: Counter[str]) -> None:
        """wanted: number of instances to place, by process guid."""
        self._cells = cells
        self._weights = weights
        self._wanted = wanted
        self._in_flight = sum(cell.starting for cell in cells)
        self._candidates: dict[tuple[Demand, bool], _Candidates] = {}
        self._failures: dict[tuple[Demand, bool, str], Failure] = {}
        self._per_zone: dict[str, Counter[str]] = {}
        for cell in cells:
            for process_guid, count in cell.instances.items():
                self._instances_per_zone(process_guid)[cell.state.zone] += count

    def place(self, item: LRP | Task) -> None:
        try:
            cell = self._best_for(item)
        except NoPlacement as error:
            self._fail(item, str(error))
            return
        cell.take(item)
        self._in_flight += 1
        if isinstance(item, LRP):
            self._instances_per_zone(item.process_guid)[cell.state.zone] += 1

    def result(self) -> Schedule:
        return Schedule(
            work={
                cell.state.cell_id: Work(
                    lrps=tuple(cell.lrps), tasks=tuple(cell.tasks), cell_id=cell.state.cell_id
                )
                for cell in self._cells
                if cell.lrps or cell.tasks
            },
            failures=tuple(self._failures.values()),
        )

    def _best_for(self, item: LRP | Task) -> CellRoom:
        """Raises NoPlacement."""
        if not self._cells:
            raise NoPlacement(NO_CELLS)
        maximum = self._weights.starting_container_count_maximum
        if maximum > 0 and self._in_flight >= maximum:
            raise NoPlacement(IN_FLIGHT_LIMIT)
        candidates = self._candidates_for(item)
        if isinstance(item, Task):
            best = candidates.best(candidates.zones, None, of_its_own=False)
        else:
            best = self._best_for_lrp(item, candidates)
        if best is None:
            raise NoPlacement(candidates.insufficient())
        return best

    def _best_for_lrp(self, lrp: LRP, candidates: _Candidates) -> CellRoom | None:
        """The zones with the fewest instances of the process come first; equal ones are compared together."""
        counts = self._instances_per_zone(lrp.process_guid)
        many = counts.total() + self._wanted[lrp.process_guid] >= MANY
        zones = sorted(candidates.zones, key=counts.__getitem__)
        for _, equal in groupby(zones, key=counts.__getitem__):
            if (cell := candidates.best(equal, lrp.process_guid, of_its_own=many)) is not None:
                return cell
        return None

    def _candidates_for(self, item: LRP | Task) -> _Candidates:
        """Raises NoPlacement."""
        key = item.demand, isinstance(item, LRP)
        if key not in self._candidates:
            cells = self._cells
            for accepts, text in CONSTRAINTS:
                cells = [cell for cell in cells if accepts(cell.state, item.demand)]
                if not cells:
                    raise NoPlacement(text(item.demand))
            self._candidates[key] = _Candidates(cells, Need.of(item), self._weights)
        return self._candidates[key]

    def _instances_per_zone(self, process_guid: str) -> Counter[str]:
        return self._per_zone.setdefault(process_guid, Counter())

    def _fail(self, item: LRP | Task, text: str) -> None:
        key = item.demand, isinstance(item, LRP), text
        if key not in self._failures:
            reasons = ((cell.state.cell_id, cell.objections(item)) for cell in self._cells)
            objecting = ((cell_id, "; ".join(why)) for cell_id, why in reasons if why)
            self._failures[key] = Failure(text=text, objections=dict(islice(objecting, OBJECTIONS)))
        self._failures[key].items.append(item)
