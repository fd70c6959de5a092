"""Transitions of an index's rows for the calls of an evacuating cell. Pure.

Each result says whether the cell keeps the container. A refused call raises :class:`Refused`, which carries
the error and ``keep_container``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bbs.embedded.decisions import events as ev
from bbs.embedded.decisions.events import InstanceEvent
from bbs.embedded.decisions.lrps import (
    Outcome,
    after_crash,
    as_running,
    drop,
    running_data,
    unclaim,
)
from bbs.embedded.decisions.rows import (
    CRASHED,
    ON_A_CELL,
    RUNNING,
    UNCLAIMED,
    Rows,
    new_tag,
    next_tag,
    to_unclaimed,
)
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, Presence, RunningData
from bbs.models.desired_lrp import UpdateStrategy
from bbs.models.errors import BBSError, ErrorType


@dataclass(frozen=True, slots=True)
class Evacuation:
    """Outcome of an evacuation call with its ``keep_container``."""

    outcome: Outcome
    keep_container: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaceability:
    """Input of the RECREATE strategy: all instances of the LRP.

    running: number of RUNNING ordinary instances.
    desired: number of desired instances.
    """

    strategy: UpdateStrategy = UpdateStrategy.ROLLING
    running: int = 0
    desired: int = 0


class Refused(BBSError):
    """A refused evacuation call with its ``keep_container``."""

    def __init__(self, error: ErrorType, *, keep_container: bool) -> None:
        super().__init__(error)
        self.keep_container = keep_container


def evacuate_claimed(rows: Rows, instance_key: ActualLRPInstanceKey, now: int) -> Evacuation:
    """The instance never ran: unclaim its index, so that another cell can take it."""
    row = _caller(rows, instance_key)
    if row.presence != Presence.ORDINARY:
        return Evacuation(drop(rows, row.presence))
    if row.state not in ON_A_CELL:
        raise Refused(ErrorType.ActualLRPCannotBeUnclaimed, keep_container=True)
    return Evacuation(unclaim(rows, now))


def evacuate_crashed(rows: Rows, instance_key: ActualLRPInstanceKey, reason: str, now: int) -> Evacuation:
    """The instance crashed; convergence restarts it."""
    row = _caller(rows, instance_key)
    if row.presence != Presence.ORDINARY:
        return Evacuation(drop(rows, row.presence))
    after = after_crash(row, reason, now)
    events: list[InstanceEvent]
    if after.state == UNCLAIMED:
        events = [ev.created(after), ev.removed(row)]
    else:
        events = [ev.crashed(row, after), ev.changed(row, after)]
    return Evacuation(Outcome(rows.with_row(after), ev.in_order(events)))


def evacuate_stopped(rows: Rows, instance_key: ActualLRPInstanceKey) -> Evacuation:
    """The instance was stopped: remove its row, of any presence."""
    return Evacuation(drop(rows, _caller(rows, instance_key).presence))


def evacuate_running(
    rows: Rows,
    key: ActualLRPKey,
    instance_key: ActualLRPInstanceKey,
    data: RunningData,
    others: Replaceability,
    now: int,
) -> Evacuation:
    """The instance keeps running until its replacement runs."""
    if not rows:
        return Evacuation(Outcome(rows))
    if others.strategy == UpdateStrategy.RECREATE:
        return _recreate(rows, instance_key, others, now)
    caller = rows.of(instance_key)
    ordinary, evacuating = rows.ordinary, rows.evacuating
    if ordinary is None or (ordinary is not caller and ordinary.state in (RUNNING, CRASHED)):
        if evacuating is not None and evacuating is caller:
            return Evacuation(drop(rows, Presence.EVACUATING))
        return Evacuation(Outcome(rows))
    if evacuating is not None and evacuating is not caller:
        return Evacuation(Outcome(rows))
    if caller is None or caller is evacuating:
        return Evacuation(_keep_evacuating(rows, key, instance_key, data, now), keep_container=True)
    if caller is ordinary and ordinary.state in ON_A_CELL:
        # In this case the call changes no data of a row that is RUNNING already.
        known = running_data(ordinary) if ordinary.state == RUNNING else data
        leaving = _new_evacuating(key, instance_key, known, now)
        replacement = to_unclaimed(ordinary, now)
        return Evacuation(
            Outcome(
                replace(rows, ordinary=replacement, evacuating=leaving),
                ev.in_order([ev.changed(ordinary, leaving), ev.created(replacement)]),
                auction=True,
            ),
            keep_container=True,
        )
    return Evacuation(Outcome(rows))


def remove_evacuating(rows: Rows, instance_key: ActualLRPInstanceKey) -> Outcome:
    """Remove the evacuating row. Raises ResourceNotFound."""
    row = rows.evacuating
    if row is None or row.actual_lrp_instance_key != instance_key:
        raise BBSError(ErrorType.ResourceNotFound)
    return drop(rows, Presence.EVACUATING)


def _caller(rows: Rows, instance_key: ActualLRPInstanceKey) -> ActualLRP:
    row = rows.of(instance_key)
    if row is None:
        raise Refused(ErrorType.ResourceNotFound, keep_container=False)
    return row


def _recreate(rows: Rows, instance_key: ActualLRPInstanceKey, others: Replaceability, now: int) -> Evacuation:
    """RECREATE: one instance at a time, and never two of an index at once."""
    caller = rows.of(instance_key)
    if caller is None:
        return Evacuation(Outcome(rows))
    if caller.presence != Presence.ORDINARY:
        return Evacuation(drop(rows, caller.presence))
    if others.running >= others.desired:
        return Evacuation(unclaim(rows, now))
    return Evacuation(Outcome(rows), keep_container=True)


def _new_evacuating(
    key: ActualLRPKey, instance_key: ActualLRPInstanceKey, data: RunningData, now: int
) -> ActualLRP:
    blank = ActualLRP(actual_lrp_key=key, modification_tag=new_tag(), presence=Presence.EVACUATING)
    return as_running(blank, instance_key, data, now)


def _keep_evacuating(
    rows: Rows, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, data: RunningData, now: int
) -> Outcome:
    row = rows.evacuating
    if row is None:
        row = _new_evacuating(key, instance_key, data, now)
        return Outcome(rows.with_row(row), (ev.created(row),))
    if running_data(row) == data:
        return Outcome(rows)
    after = replace(as_running(row, instance_key, data, now), modification_tag=next_tag(row.modification_tag))
    return Outcome(rows.with_row(after), (ev.changed(row, after),))
