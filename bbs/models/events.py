"""Payloads of the event streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPGroup,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    Presence,
)
from bbs.models.common import ModificationTag
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.meta import FLATTEN, Int32, Int64, Json
from bbs.models.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsByCellId:
    """Subscription to a stream.

    cell_id: only instances of this cell; empty for all.
    """

    cell_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRPCreatedEvent:
    """A DesiredLRP was created."""

    desired_lrp: Annotated[DesiredLRP | None, Json("desired_lrp", omit=True)] = None
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRPChangedEvent:
    """A DesiredLRP was updated."""

    before: Annotated[DesiredLRP | None, Json("before", omit=True)] = None
    after: Annotated[DesiredLRP | None, Json("after", omit=True)] = None
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRPRemovedEvent:
    """A DesiredLRP was removed."""

    desired_lrp: Annotated[DesiredLRP | None, Json("desired_lrp", omit=True)] = None
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInstanceCreatedEvent:
    """A row was created."""

    actual_lrp: Annotated[ActualLRP | None, Json("actual_lrp", omit=True)] = None
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInstanceChangedEvent:
    """A row changed.

    The keys are those of after, or those of before if after has none.
    """

    actual_lrp_key: Annotated[ActualLRPKey, FLATTEN] = ActualLRPKey()
    actual_lrp_instance_key: Annotated[ActualLRPInstanceKey, FLATTEN] = ActualLRPInstanceKey()
    before: Annotated[ActualLRPInfo | None, Json("before", omit=True)] = None
    after: Annotated[ActualLRPInfo | None, Json("after", omit=True)] = None
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInfo:
    """A row in a changed event, without metric tags and internal routes."""

    actual_lrp_net_info: Annotated[ActualLRPNetInfo, FLATTEN] = ActualLRPNetInfo()
    crash_count: Int32 = 0
    crash_reason: Annotated[str, Json("crash_reason", omit=True)] = ""
    state: str = ""
    placement_error: Annotated[str, Json("placement_error", omit=True)] = ""
    since: Int64 = 0
    modification_tag: ModificationTag = ModificationTag()
    presence: Presence = Presence(0)
    routable: Annotated[bool | None, Json("OptionalRoutable.Routable", omit=True)] = None
    availability_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInstanceRemovedEvent:
    """A row was removed."""

    actual_lrp: Annotated[ActualLRP | None, Json("actual_lrp", omit=True)] = None
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPCrashedEvent:
    """An instance crashed.

    actual_lrp_instance_key: the instance before the crash.
    crash_count, since: values after the crash; since is ns since the epoch.
    """

    actual_lrp_key: Annotated[ActualLRPKey, FLATTEN] = ActualLRPKey()
    actual_lrp_instance_key: Annotated[ActualLRPInstanceKey, FLATTEN] = ActualLRPInstanceKey()
    crash_count: Int32 = 0
    crash_reason: Annotated[str, Json("crash_reason", omit=True)] = ""
    since: Int64 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPCreatedEvent:
    """A member of a group was created; for old clients."""

    actual_lrp_group: Annotated[ActualLRPGroup | None, Json("actual_lrp_group", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPChangedEvent:
    """A member of a group changed; for old clients."""

    before: Annotated[ActualLRPGroup | None, Json("before", omit=True)] = None
    after: Annotated[ActualLRPGroup | None, Json("after", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPRemovedEvent:
    """A member of a group was removed; for old clients."""

    actual_lrp_group: Annotated[ActualLRPGroup | None, Json("actual_lrp_group", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCreatedEvent:
    """A task was created."""

    task: Annotated[Task | None, Json("task", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChangedEvent:
    """A task changed."""

    before: Annotated[Task | None, Json("before", omit=True)] = None
    after: Annotated[Task | None, Json("after", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRemovedEvent:
    """A task was deleted."""

    task: Annotated[Task | None, Json("task", omit=True)] = None


Event: TypeAlias = (
    DesiredLRPCreatedEvent
    | DesiredLRPChangedEvent
    | DesiredLRPRemovedEvent
    | ActualLRPInstanceCreatedEvent
    | ActualLRPInstanceChangedEvent
    | ActualLRPInstanceRemovedEvent
    | ActualLRPCrashedEvent
    | ActualLRPCreatedEvent
    | ActualLRPChangedEvent
    | ActualLRPRemovedEvent
    | TaskCreatedEvent
    | TaskChangedEvent
    | TaskRemovedEvent
)
"""Any event."""

EVENT_TYPES: Mapping[str, type[Event]] = {
    "desired_lrp_created": DesiredLRPCreatedEvent,
    "desired_lrp_changed": DesiredLRPChangedEvent,
    "desired_lrp_removed": DesiredLRPRemovedEvent,
    "actual_lrp_instance_created": ActualLRPInstanceCreatedEvent,
    "actual_lrp_instance_changed": ActualLRPInstanceChangedEvent,
    "actual_lrp_instance_removed": ActualLRPInstanceRemovedEvent,
    "actual_lrp_crashed": ActualLRPCrashedEvent,
    "actual_lrp_created": ActualLRPCreatedEvent,
    "actual_lrp_changed": ActualLRPChangedEvent,
    "actual_lrp_removed": ActualLRPRemovedEvent,
    "task_created": TaskCreatedEvent,
    "task_changed": TaskChangedEvent,
    "task_removed": TaskRemovedEvent,
}
"""Event name on the streams -> payload."""

EVENT_NAMES: Mapping[type[Event], str] = {payload: name for name, payload in EVENT_TYPES.items()}
"""Payload -> event name on the streams."""
