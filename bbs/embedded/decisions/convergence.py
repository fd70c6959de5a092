"""Convergence decisions on a snapshot of the records. Pure.

:mod:`bbs.embedded.controllers.converger` applies them. Only convergence repairs the effects of lost messages,
missing cells and full cells. Times are ns since the epoch. Conditions and numbers
are those of the Go BBS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto

from bbs.embedded.clock import SECOND
from bbs.embedded.decisions import lrps as transitions
from bbs.embedded.decisions import tasks as task_transitions
from bbs.embedded.decisions.lrps import Outcome
from bbs.embedded.decisions.routing import internal_routes, metric_tags
from bbs.embedded.decisions.rows import CRASHED, ON_A_CELL, RUNNING, UNCLAIMED, Rows
from bbs.models.actual_lrp import ActualLRP, ActualLRPKey, Presence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task, TaskState

STALE_UNCLAIMED = 30 * SECOND
PENDING_LIMIT = 30 * 60 * SECOND
RESOLVING_LIMIT = 30 * SECOND
COMPLETED_LIMIT = 120 * SECOND
CALLBACK_RETRY = 30 * SECOND

NOT_STARTED = "not started within time limit"
CELL_DISAPPEARED = "cell disappeared before completion"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Inputs of a decision apart from the record: registered cells, fresh domains, current time."""

    cells: Collection[str]
    fresh_domains: Collection[str]
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPlan:
    """What to do about one index.

    outcomes: outcomes to store in order, each on top of the one before.
    auction: request an auction.
    retire: have the ordinary row stopped or deleted.
    update_routes, update_tags: send the changes to the cell of the ordinary row.
    """

    outcomes: tuple[Outcome, ...] = ()
    auction: bool = False
    retire: bool = False
    update_routes: bool = False
    update_tags: bool = False


def plan_index(key: ActualLRPKey, rows: Rows, desired: DesiredLRP | None, world: World) -> IndexPlan:
    """Decide about one index: its rows, if any, and its desired LRP, if any."""
    outcomes: list[Outcome] = []

    def then(decide: Callable[[Rows], Outcome]) -> Rows:
        outcomes.append(decide(outcomes[-1].after if outcomes else rows))
        return outcomes[-1].after

    fresh = key.domain in world.fresh_domains
    wanted = desired is not None and key.index < desired.instances
    now = world.now

    if rows.evacuating is not None and _cell_is_gone(rows.evacuating, world):
        rows_now = then(lambda r: transitions.drop(r, Presence.EVACUATING))
    else:
        rows_now = rows
    suspect_row = rows_now.suspect
    if suspect_row is not None:
        replaced = rows_now.ordinary is not None and rows_now.ordinary.state == RUNNING
        if replaced or (desired is None and fresh):
            rows_now = then(lambda r: transitions.drop(r, Presence.SUSPECT))
        elif not _cell_is_gone(suspect_row, world):
            rows_now = then(transitions.unsuspect)
    row = rows_now.ordinary

    if not wanted and fresh:
        if rows_now.suspect is not None:
            then(lambda r: transitions.drop(r, Presence.SUSPECT))
        return IndexPlan(outcomes=tuple(outcomes), retire=row is not None)
    if row is None:
        if wanted:
            then(lambda r: transitions.create(r, key, now))
        return IndexPlan(outcomes=tuple(outcomes), auction=wanted)
    if row.state in ON_A_CELL and _cell_is_gone(row, world):
        then(lambda r: transitions.suspect(r, now))
        return IndexPlan(outcomes=tuple(outcomes), auction=wanted and outcomes[-1].auction)
    if row.state == CRASHED and wanted and transitions.restart_due(row, now):
        then(lambda r: transitions.unclaim(r, now))
        return IndexPlan(outcomes=tuple(outcomes), auction=True)
    return IndexPlan(
        outcomes=tuple(outcomes),
        auction=wanted and row.state == UNCLAIMED and now - row.since > STALE_UNCLAIMED,
        update_routes=desired is not None
        and _differs(row, row.actual_lrp_internal_routes, internal_routes(desired)),
        update_tags=desired is not None and _differs(row, row.metric_tags, metric_tags(desired, row)),
    )


def _differs(row: ActualLRP, recorded: object, wanted: object) -> bool:
    return row.state == RUNNING and recorded != wanted


def _cell_is_gone(row: ActualLRP, world: World) -> bool:
    return row.actual_lrp_instance_key.cell_id not in world.cells


class TaskAction(Enum):
    """Additional action for a task."""

    NOTHING = auto()
    AUCTION = auto()
    CALL_BACK = auto()
    DELETE = auto()


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """What to do about one task. after: its new record, or None for no change."""

    after: Task | None = None
    action: TaskAction = TaskAction.NOTHING


def plan_task(task: Task, world: World) -> TaskPlan:
    """Decide about one task."""
    now = world.now
    expired = now - task.first_completed_at > COMPLETED_LIMIT
    match task.state:
        case TaskState.Pending if now - task.created_at > PENDING_LIMIT:
            return _failed(task, NOT_STARTED, now)
        case TaskState.Pending:
            return TaskPlan(action=TaskAction.AUCTION)
        case TaskState.Running if task.cell_id not in world.cells:
            return _failed(task, CELL_DISAPPEARED, now)
        case TaskState.Completed if expired:
            return TaskPlan(action=TaskAction.DELETE)
        case TaskState.Resolving if now - task.updated_at > RESOLVING_LIMIT and expired:
            return TaskPlan(action=TaskAction.DELETE)
        case TaskState.Resolving if now - task.updated_at > RESOLVING_LIMIT:
            return TaskPlan(task_transitions.unresolve(task, now), TaskAction.CALL_BACK)
        case TaskState.Completed if now - task.updated_at > CALLBACK_RETRY:
            return TaskPlan(action=TaskAction.CALL_BACK)
        case _:
            return TaskPlan()


def _failed(task: Task, reason: str, now: int) -> TaskPlan:
    after = task_transitions.completed(task, failed=True, failure_reason=reason, result="", now=now)
    return TaskPlan(after, TaskAction.CALL_BACK)
