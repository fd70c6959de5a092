"""The auction: which part of the offered work this cell takes.

:func:`admit` decides and is pure; :func:`perform` carries out the decision on an executor.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.auction import LRP, Task, Work
from bbs.models.guid import Guid, InvalidGuid
from executor.api import ExecutorAPI
from executor.model import AllocationRequest
from rep import tags
from rep.rootfs import StackMap, UnknownStack

INSTANCE_GUID_LENGTH = 28

logger = logging.getLogger(__name__)


class ForeignWork(Exception):
    """The work names another cell."""

    def __init__(self, cell_id: str) -> None:
        super().__init__("workload cell ID does not match this cell")
        self.cell_id = cell_id


@dataclass(frozen=True, slots=True)
class Offer:
    """A reservation to request, and its work."""

    request: AllocationRequest
    work: LRP | Task


@dataclass(frozen=True, slots=True)
class Admission:
    """The reservations to make, in order, and the work refused at once.

    objections: pairs of refused item and reason, for the log; the protocol has no field for them.
    """

    offers: tuple[Offer, ...]
    refused: Work
    objections: tuple[tuple[str, str], ...] = ()


def instance_guid() -> str:
    """A random guid of 28 characters, short enough for a host name."""
    return str(uuid.uuid4())[:INSTANCE_GUID_LENGTH]


def admit(
    work: Work,
    *,
    cell_id: str,
    evacuating: bool,
    remaining_memory_mb: int,
    proxy_allocation_mb: int,
    stacks: StackMap,
    unreported: Container[str] = (),
    new_guid: Callable[[], str] = instance_guid,
) -> Admission:
    """Sort LRPs by memory, admit while memory lasts, refuse what this cell cannot run. Raises ForeignWork.

    unreported: guids whose report waits for the BBS. A task that comes again is refused meanwhile: the report
    would end its new run.
    """
    if work.cell_id and work.cell_id != cell_id:
        raise ForeignWork(work.cell_id)
    by_memory = tuple(sorted(work.lrps, key=lambda lrp: -lrp.demand.memory_mb))
    if evacuating:
        everything: tuple[LRP | Task, ...] = (*by_memory, *work.tasks)
        objections = [(_name(item), "the cell is being evacuated") for item in everything]
        return Admission((), replace(work, lrps=by_memory), tuple(objections))
    objections = []
    short: list[LRP] = []
    impossible_lrps: list[LRP] = []
    impossible_tasks: list[Task] = []
    offers: list[Offer] = []
    for lrp in by_memory:
        if why := _invalid(lrp):
            impossible_lrps.append(lrp)
            objections.append((_name(lrp), why))
            continue
        cost = lrp.demand.memory_mb + proxy_allocation_mb
        if cost > remaining_memory_mb:
            short.append(lrp)
            why = f"{remaining_memory_mb} MB of memory left for it, {cost} needed"
            objections.append((_name(lrp), why))
            continue
        remaining_memory_mb -= cost
        if _resolves(stacks, lrp.demand.root_fs):
            offers.append(Offer(_lrp_request(lrp, new_guid(), proxy_allocation_mb), lrp))
        else:
            impossible_lrps.append(lrp)
            objections.append((_name(lrp), f"no root filesystem {lrp.demand.root_fs}"))
    for task in work.tasks:
        why = _invalid(task)
        if not why and task.task_guid in unreported:
            why = "the report about its last run waits for the BBS"
        if not why and _resolves(stacks, task.demand.root_fs):
            offers.append(Offer(_task_request(task), task))
        else:
            impossible_tasks.append(task)
            objections.append((_name(task), why or f"no root filesystem {task.demand.root_fs}"))
    refused = Work(lrps=(*short, *impossible_lrps), tasks=tuple(impossible_tasks))
    return Admission(tuple(offers), refused, tuple(objections))


def perform(admission: Admission, executor: ExecutorAPI, *, trace_id: str = "") -> Work:
    """Reserve the admitted work. Returns all refused work, of the admission and of the executor."""
    failures = executor.allocate([offer.request for offer in admission.offers], trace_id=trace_id)
    by_guid = {offer.request.guid: offer.work for offer in admission.offers}
    reserved = [(_name(by_guid[failure.request.guid]), failure.reason) for failure in failures]
    for name, why in (*admission.objections, *reserved):
        logger.info("auction.refused-work", extra={"data": {"work": name, "reason": why}})
    # several offers can have the same guid (a task offered twice); only the first is reserved
    times = Counter(failure.request.guid for failure in failures)
    refused: list[LRP | Task] = []
    for offer in reversed(admission.offers):
        if times[offer.request.guid]:
            times[offer.request.guid] -= 1
            refused.insert(0, offer.work)
    return replace(
        admission.refused,
        lrps=(*admission.refused.lrps, *(work for work in refused if isinstance(work, LRP))),
        tasks=(*admission.refused.tasks, *(work for work in refused if isinstance(work, Task))),
    )


def _name(work: LRP | Task) -> str:
    return f"{work.process_guid}.{work.index}" if isinstance(work, LRP) else work.task_guid


def _invalid(work: LRP | Task) -> str:
    """Why the work is invalid, or empty. A reservation for invalid work cannot be reported to the BBS."""
    demand = work.demand
    if (problem := demand.problem()) or demand.max_pids < 0:
        return problem or f"limit of processes {demand.max_pids} is negative"
    try:
        Guid(work.process_guid if isinstance(work, LRP) else work.task_guid)
    except InvalidGuid as error:
        return str(error)
    if isinstance(work, LRP) and work.index < 0:
        return f"index {work.index} is negative"
    if isinstance(work, LRP) and not work.domain:
        return "no domain"
    return ""


def _resolves(stacks: StackMap, root_fs: str) -> bool:
    try:
        stacks.resolve(root_fs)
    except UnknownStack:
        return False
    return True


def _lrp_request(lrp: LRP, guid: str, proxy_allocation_mb: int) -> AllocationRequest:
    key = ActualLRPKey(process_guid=lrp.process_guid, index=lrp.index, domain=lrp.domain)
    demand = lrp.demand
    return AllocationRequest(
        guid=guid,
        memory_mb=demand.memory_mb + proxy_allocation_mb if demand.memory_mb > 0 else demand.memory_mb,
        disk_mb=demand.disk_mb,
        max_pids=demand.max_pids,
        tags=tags.lrp_tags(key, guid, demand.placement_tags, demand.volume_drivers),
    )


def _task_request(task: Task) -> AllocationRequest:
    demand = task.demand
    return AllocationRequest(
        guid=task.task_guid,
        memory_mb=demand.memory_mb,
        disk_mb=demand.disk_mb,
        max_pids=demand.max_pids,
        tags=tags.task_tags(task.domain, demand.placement_tags, demand.volume_drivers),
    )
