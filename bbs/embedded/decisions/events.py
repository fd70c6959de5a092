"""Events for a change of an index's rows, on the instance stream and on the group stream.

The instance stream reports what happened to rows. Only the deciding transition has that information, so it
builds those events with the constructors here. The group stream shows one resolved instance and one
evacuating instance per index; its events follow from the rows before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from bbs.embedded.decisions.rows import CLAIMED, CRASHED, RUNNING, Rows
from bbs.models.actual_lrp import ActualLRP, ActualLRPGroup, ActualLRPInstanceKey, Presence
from bbs.models.events import (
    ActualLRPChangedEvent,
    ActualLRPCrashedEvent,
    ActualLRPCreatedEvent,
    ActualLRPInfo,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    ActualLRPRemovedEvent,
)

InstanceEvent: TypeAlias = (
    ActualLRPInstanceCreatedEvent
    | ActualLRPInstanceChangedEvent
    | ActualLRPInstanceRemovedEvent
    | ActualLRPCrashedEvent
)
GroupEvent: TypeAlias = (
    ActualLRPCreatedEvent | ActualLRPChangedEvent | ActualLRPRemovedEvent | ActualLRPCrashedEvent
)


def info(row: ActualLRP) -> ActualLRPInfo:
    """The part of a row in a changed event."""
    return ActualLRPInfo(
        actual_lrp_net_info=row.actual_lrp_net_info,
        crash_count=row.crash_count,
        crash_reason=row.crash_reason,
        state=row.state,
        placement_error=row.placement_error,
        since=row.since,
        modification_tag=row.modification_tag,
        presence=row.presence,
        routable=row.routable,
        availability_zone=row.availability_zone,
    )


def created(row: ActualLRP, trace_id: str = "") -> ActualLRPInstanceCreatedEvent:
    return ActualLRPInstanceCreatedEvent(actual_lrp=row, trace_id=trace_id)


def removed(row: ActualLRP, trace_id: str = "") -> ActualLRPInstanceRemovedEvent:
    return ActualLRPInstanceRemovedEvent(actual_lrp=row, trace_id=trace_id)


def changed(before: ActualLRP, after: ActualLRP) -> ActualLRPInstanceChangedEvent:
    """The keys are those of *after*; if *after* has no instance key, that of *before*."""
    instance_key = after.actual_lrp_instance_key
    if instance_key == ActualLRPInstanceKey():
        instance_key = before.actual_lrp_instance_key
    return ActualLRPInstanceChangedEvent(
        actual_lrp_key=after.actual_lrp_key,
        actual_lrp_instance_key=instance_key,
        before=info(before),
        after=info(after),
    )


def crashed(before: ActualLRP, after: ActualLRP) -> ActualLRPCrashedEvent:
    """The instance key is that of *before*, because a crash clears it."""
    return ActualLRPCrashedEvent(
        actual_lrp_key=after.actual_lrp_key,
        actual_lrp_instance_key=before.actual_lrp_instance_key,
        crash_count=after.crash_count,
        crash_reason=after.crash_reason,
        since=after.since,
    )


def _rank(event: InstanceEvent) -> int:
    if isinstance(event, ActualLRPCrashedEvent):
        return 0
    if isinstance(event, ActualLRPInstanceCreatedEvent):
        return 1 if event.actual_lrp is not None and event.actual_lrp.state == RUNNING else 2
    if isinstance(event, ActualLRPInstanceChangedEvent):
        return 1 if event.after is not None and event.after.state == RUNNING else 2
    return 2


def in_order(events: Iterable[InstanceEvent]) -> tuple[InstanceEvent, ...]:
    """Crashed events first, then events that result in RUNNING, then the rest."""
    return tuple(sorted(events, key=_rank))


def best(rows: Rows) -> ActualLRP | None:
    """The row that represents an index among its non-evacuating rows."""
    if rows.ordinary is not None and rows.ordinary.state == RUNNING:
        return rows.ordinary
    if rows.suspect is not None and rows.suspect.state in (RUNNING, CLAIMED):
        return rows.suspect
    return rows.ordinary


def to_group(rows: Rows) -> ActualLRPGroup:
    """The pair of instances of an index in the deprecated group calls."""
    return ActualLRPGroup(instance=best(rows), evacuating=rows.evacuating)


def resolved(pair: ActualLRPGroup) -> ActualLRP | None:
    """The single instance that represents a pair."""
    instance = pair.instance
    if instance is not None and (instance.state in (RUNNING, CRASHED) or pair.evacuating is None):
        return instance
    return pair.evacuating


def group_events(before: Rows, after: Rows, instance_events: Sequence[InstanceEvent]) -> list[GroupEvent]:
    """Events of the group stream for one change; each carries only the member that changed."""
    events: list[GroupEvent] = [e for e in instance_events if isinstance(e, ActualLRPCrashedEvent)]
    events += _evacuating_member(before.evacuating, after.evacuating)
    if _suspect_returned(before, after) and before.ordinary is not None:
        events.append(_removed(ActualLRPGroup(instance=before.ordinary)))
    else:
        events += _instance_member(best(before), best(after))
    return sorted(events, key=_group_rank)


def _group_rank(event: GroupEvent) -> int:
    """The same order as on the instance stream."""
    match event:
        case ActualLRPCrashedEvent():
            return 0
        case ActualLRPCreatedEvent():
            pair = event.actual_lrp_group
        case ActualLRPChangedEvent():
            pair = event.after
        case _:
            return 2
    row = None if pair is None else resolved(pair)
    return 1 if row is not None and row.state == RUNNING else 2


def _suspect_returned(before: Rows, after: Rows) -> bool:
    """Whether a suspect row became ordinary again; the stream only reports the removed replacement."""
    return (
        before.suspect is not None
        and after.suspect is None
        and after.ordinary is not None
        and after.ordinary.actual_lrp_instance_key == before.suspect.actual_lrp_instance_key
    )


def _evacuating_member(before: ActualLRP | None, after: ActualLRP | None) -> list[GroupEvent]:
    if before == after:
        return []
    if before is None:
        return [_created(ActualLRPGroup(evacuating=after))]
    if after is None:
        return [_removed(ActualLRPGroup(evacuating=before))]
    return [_changed(ActualLRPGroup(evacuating=before), ActualLRPGroup(evacuating=after))]


def _instance_member(before: ActualLRP | None, after: ActualLRP | None) -> list[GroupEvent]:
    if before is None and after is None:
        return []
    if before is None:
        return [_created(ActualLRPGroup(instance=after))]
    if after is None:
        return [_removed(ActualLRPGroup(instance=before))]
    if replace(before, presence=after.presence) == after:
        return []
    if before.presence == Presence.SUSPECT and after.state == RUNNING and after.presence == Presence.ORDINARY:
        return [_created(ActualLRPGroup(instance=after)), _removed(ActualLRPGroup(instance=before))]
    return [_changed(ActualLRPGroup(instance=before), ActualLRPGroup(instance=after))]


def _created(pair: ActualLRPGroup) -> ActualLRPCreatedEvent:
    return ActualLRPCreatedEvent(actual_lrp_group=pair)


def _removed(pair: ActualLRPGroup) -> ActualLRPRemovedEvent:
    return ActualLRPRemovedEvent(actual_lrp_group=pair)


def _changed(before: ActualLRPGroup, after: ActualLRPGroup) -> ActualLRPChangedEvent:
    return ActualLRPChangedEvent(before=before, after=after)
