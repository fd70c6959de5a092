"""Transitions of the rows of an index for actual LRP calls. Pure: rows in, outcome out.

A refused call raises :class:`~bbs.models.errors.BBSError`. Times are ns since the epoch. Transitions and
numbers are those of the Go BBS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bbs.embedded.clock import SECOND
from bbs.embedded.decisions import events as ev
from bbs.embedded.decisions.events import InstanceEvent
from bbs.embedded.decisions.rows import (
    CLAIMED,
    CRASHED,
    ON_A_CELL,
    RUNNING,
    UNCLAIMED,
    Rows,
    cut,
    new_tag,
    new_unclaimed,
    next_tag,
    to_unclaimed,
)
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    Presence,
    RunningData,
)
from bbs.models.errors import BBSError, ErrorType

CRASH_RESET_AFTER = 5 * 60 * SECOND
"""If an instance ran longer than this, its crash count restarts."""

IMMEDIATE_RESTARTS = 2
"""Up to this crash count, restarts are immediate."""

MAX_RESTARTS = 200
"""From this crash count on, a row stays CRASHED."""

BASE_RESTART_WAIT = 30 * SECOND
MAX_WAIT_EXPONENT = 5
"""Maximum number of times the wait doubles; it doubles with each crash."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a transition.

    after: the new rows.
    events: events of the instance stream, in order.
    auction: whether the index needs an auction.
    """

    after: Rows
    events: tuple[InstanceEvent, ...] = ()
    auction: bool = False


def claim(rows: Rows, instance_key: ActualLRPInstanceKey, now: int) -> Outcome:
    """A cell claims the index. Raises ResourceNotFound, ActualLRPCannotBeClaimed."""
    if _names_suspect(rows, instance_key):
        return Outcome(rows)
    row = _ordinary(rows)
    same = row.actual_lrp_instance_key == instance_key
    if row.state == CLAIMED and same:
        return Outcome(rows)
    if not (row.state == UNCLAIMED or (row.state in (RUNNING, CRASHED) and same)):
        raise BBSError(ErrorType.ActualLRPCannotBeClaimed)
    after = replace(
        row,
        state=CLAIMED,
        actual_lrp_instance_key=instance_key,
        actual_lrp_net_info=ActualLRPNetInfo(),
        placement_error="",
        since=now,
        modification_tag=next_tag(row.modification_tag),
    )
    return Outcome(rows.with_row(after), (ev.changed(row, after),))


def start(
    rows: Rows, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, data: RunningData, now: int
) -> Outcome:
    """An instance runs; evacuating and suspect rows are removed. Raises ActualLRPCannotBeStarted."""
    if _names_suspect(rows, instance_key):
        return Outcome(rows)
    row = rows.ordinary
    events: list[InstanceEvent] = []
    if row is None:
        blank = ActualLRP(actual_lrp_key=key, modification_tag=new_tag())
        after = as_running(blank, instance_key, data, now)
        events.append(ev.created(after))
    else:
        same = row.actual_lrp_instance_key == instance_key
        allowed = row.state in (UNCLAIMED, CLAIMED) or (row.state == RUNNING and same)
        if not allowed or row.actual_lrp_key.domain != key.domain:
            raise BBSError(ErrorType.ActualLRPCannotBeStarted)
        after = row
        if row.state != RUNNING or running_data(row) != data:
            after = replace(
                as_running(row, instance_key, data, now), modification_tag=next_tag(row.modification_tag)
            )
            events.append(ev.changed(row, after))
    events += [ev.removed(other) for other in (rows.evacuating, rows.suspect) if other is not None]
    return Outcome(Rows(ordinary=after), ev.in_order(events))


def crash(rows: Rows, instance_key: ActualLRPInstanceKey, reason: str, now: int) -> Outcome:
    """An instance crashed. Raises ResourceNotFound, ActualLRPCannotBeCrashed."""
    if rows.suspect is not None and _names_suspect(rows, instance_key):
        return Outcome(rows.without(Presence.SUSPECT), (ev.removed(rows.suspect),))
    row = _ordinary(rows)
    if row.state not in ON_A_CELL or row.actual_lrp_instance_key != instance_key:
        raise BBSError(ErrorType.ActualLRPCannotBeCrashed)
    after = after_crash(row, reason, now)
    events: list[InstanceEvent] = [ev.crashed(row, after)]
    restarts = after.state == UNCLAIMED
    events += [ev.created(after), ev.removed(row)] if restarts else [ev.changed(row, after)]
    return Outcome(rows.with_row(after), ev.in_order(events), auction=restarts)


def fail(rows: Rows, message: str, now: int) -> Outcome:
    """Placement of the index failed. A missing row is ignored. Raises ActualLRPCannotBeFailed."""
    row = rows.ordinary
    if row is None:
        return Outcome(rows)
    if row.state != UNCLAIMED:
        raise BBSError(ErrorType.ActualLRPCannotBeFailed)
    after = replace(
        row, placement_error=cut(message), since=now, modification_tag=next_tag(row.modification_tag)
    )
    return Outcome(rows.with_row(after), (ev.changed(row, after),))


def remove(rows: Rows, instance_key: ActualLRPInstanceKey | None, trace_id: str = "") -> Outcome:
    """Remove the ordinary row; an instance key, if given, must match. Raises ResourceNotFound."""
    row = _ordinary(rows)
    if instance_key is not None and row.actual_lrp_instance_key != instance_key:
        raise BBSError(ErrorType.ResourceNotFound)
    return drop(rows, Presence.ORDINARY, trace_id)


def drop(rows: Rows, presence: Presence, trace_id: str = "") -> Outcome:
    """Remove the row of that presence, in any state; a missing row is ignored."""
    row = rows.presence(presence)
    if row is None:
        return Outcome(rows)
    return Outcome(rows.without(presence), (ev.removed(row, trace_id),))


def create(rows: Rows, key: ActualLRPKey, now: int, trace_id: str = "") -> Outcome:
    """Create the ordinary row if it is missing."""
    if rows.ordinary is not None:
        return Outcome(rows)
    row = new_unclaimed(key, now)
    return Outcome(rows.with_row(row), (ev.created(row, trace_id),), auction=True)


def unclaim(rows: Rows, now: int) -> Outcome:
    """Remove the instance or the CRASHED state of the ordinary row. Raises ActualLRPCannotBeUnclaimed."""
    row = _ordinary(rows)
    if row.state == UNCLAIMED:
        raise BBSError(ErrorType.ActualLRPCannotBeUnclaimed)
    after = to_unclaimed(row, now)
    return Outcome(rows.with_row(after), (ev.created(after), ev.removed(row)), auction=True)


def suspect(rows: Rows, now: int) -> Outcome:
    """The ordinary row's cell is missing: mark the row as SUSPECT and auction a replacement.

    If a SUSPECT row exists, the ordinary row is only unclaimed; convergence auctions it later.
    """
    row = _ordinary(rows)
    if rows.suspect is not None:
        return replace(unclaim(rows, now), auction=False)
    suspect_row = replace(row, presence=Presence.SUSPECT)
    replacement = new_unclaimed(row.actual_lrp_key, now)
    return Outcome(
        replace(rows, ordinary=replacement, suspect=suspect_row),
        ev.in_order([ev.changed(row, suspect_row), ev.created(replacement)]),
        auction=True,
    )


def unsuspect(rows: Rows) -> Outcome:
    """The SUSPECT row's cell is registered again: make the row ordinary and remove its replacement."""
    suspect_row = rows.suspect
    if suspect_row is None:
        return Outcome(rows)
    restored = replace(suspect_row, presence=Presence.ORDINARY)
    events: list[InstanceEvent] = [ev.changed(suspect_row, restored)]
    if rows.ordinary is not None:
        events.append(ev.removed(rows.ordinary))
    return Outcome(replace(rows, ordinary=restored, suspect=None), ev.in_order(events))


def after_crash(row: ActualLRP, reason: str, now: int) -> ActualLRP:
    """The row after one more crash: UNCLAIMED for an immediate restart, or CRASHED."""
    long_lived = row.state == RUNNING and now - row.since > CRASH_RESET_AFTER
    count = 1 if long_lived else row.crash_count + 1
    after = replace(to_unclaimed(row, now), crash_count=count, crash_reason=cut(reason))
    return after if count <= IMMEDIATE_RESTARTS else replace(after, state=CRASHED)


def restart_due(row: ActualLRP, now: int) -> bool:
    """Whether a CRASHED row has waited long enough: 30 s, doubling with each crash, at most 16 min."""
    if row.crash_count >= MAX_RESTARTS:
        return False
    exponent = min(max(row.crash_count - IMMEDIATE_RESTARTS - 1, 0), MAX_WAIT_EXPONENT)
    return now - row.since > BASE_RESTART_WAIT << exponent


def as_running(row: ActualLRP, instance_key: ActualLRPInstanceKey, data: RunningData, now: int) -> ActualLRP:
    """The row with a running instance. The caller updates the modification tag."""
    return replace(
        row,
        state=RUNNING,
        actual_lrp_instance_key=instance_key,
        actual_lrp_net_info=data.net_info,
        actual_lrp_internal_routes=data.internal_routes,
        metric_tags=data.metric_tags,
        routable=data.routable,
        availability_zone=data.availability_zone,
        placement_error="",
        since=now,
    )


def running_data(row: ActualLRP) -> RunningData:
    """The running data of a row."""
    return RunningData(
        net_info=row.actual_lrp_net_info,
        internal_routes=row.actual_lrp_internal_routes,
        metric_tags=row.metric_tags,
        routable=row.routable is not False,
        availability_zone=row.availability_zone,
    )


def _ordinary(rows: Rows) -> ActualLRP:
    if rows.ordinary is None:
        raise BBSError(ErrorType.ResourceNotFound)
    return rows.ordinary


def _names_suspect(rows: Rows, instance_key: ActualLRPInstanceKey) -> bool:
    return rows.suspect is not None and rows.suspect.actual_lrp_instance_key == instance_key
