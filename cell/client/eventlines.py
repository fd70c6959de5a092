"""One-line summaries of events for people."""

from __future__ import annotations

from bbs.models.actual_lrp import ActualLRP
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.events import (
    ActualLRPCrashedEvent,
    ActualLRPInfo,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
    TaskChangedEvent,
    TaskCreatedEvent,
    TaskRemovedEvent,
)
from bbs.models.task import Task
from cell.assembly.terminal import one_line
from cell.client.tables import address_and_ports, instance_state, task_outcome


def describe(event: Event) -> str:
    """The subject, the change, and the place."""
    return one_line(" ".join(part for part in _parts(event) if part))


def _parts(event: Event) -> tuple[str, ...]:
    match event:
        case DesiredLRPCreatedEvent(desired_lrp=DesiredLRP() as lrp):
            return lrp.process_guid, "desired:", f"{lrp.instances} instance(s)"
        case DesiredLRPChangedEvent(before=DesiredLRP() as before, after=DesiredLRP() as after):
            return after.process_guid, "updated:", _update(before, after)
        case DesiredLRPRemovedEvent(desired_lrp=DesiredLRP() as lrp):
            return lrp.process_guid, "no longer desired"
        case ActualLRPInstanceCreatedEvent(actual_lrp=ActualLRP() as lrp):
            return _instance(lrp), "created:", instance_state(lrp)
        case ActualLRPInstanceChangedEvent(before=ActualLRPInfo() as was, after=ActualLRPInfo() as now):
            name = f"{event.actual_lrp_key.process_guid}/{event.actual_lrp_key.index}"
            return name, _change(was, now), _on(event.actual_lrp_instance_key.cell_id), *_more(was, now)
        case ActualLRPInstanceRemovedEvent(actual_lrp=ActualLRP() as lrp):
            return _instance(lrp), "removed:", instance_state(lrp)
        case ActualLRPCrashedEvent():
            name = f"{event.actual_lrp_key.process_guid}/{event.actual_lrp_key.index}"
            return name, f"crashed ({event.crash_count}x):", event.crash_reason
        case TaskCreatedEvent(task=Task() as task):
            return task.task_guid, "created:", task.state.name
        case TaskChangedEvent(before=Task() as before_task, after=Task() as after_task):
            moved = f"{before_task.state.name} -> {after_task.state.name}"
            return after_task.task_guid, moved, _on(after_task.cell_id), task_outcome(after_task)
        case TaskRemovedEvent(task=Task() as task):
            return task.task_guid, "removed:", task.state.name
        case _:  # of the older stream of groups, or without its content
            return (type(event).__name__,)


def _instance(lrp: ActualLRP) -> str:
    return f"{lrp.actual_lrp_key.process_guid}/{lrp.actual_lrp_key.index}"


def _change(was: ActualLRPInfo, now: ActualLRPInfo) -> str:
    before, after = _state(was), _state(now)
    return after if before == after else f"{before} -> {after}"


def _state(info: ActualLRPInfo) -> str:
    return instance_state(ActualLRP(state=info.state, presence=info.presence, routable=info.routable))


def _more(was: ActualLRPInfo, now: ActualLRPInfo) -> tuple[str, str]:
    """The instance's address, or the placement error; a crash has a separate event."""
    address = address_and_ports(now.actual_lrp_net_info)
    news = now.placement_error if now.placement_error != was.placement_error else ""
    return (f"at {address}" if address else "", news)


def _on(cell_id: str) -> str:
    return f"on {cell_id}" if cell_id else ""


def _update(before: DesiredLRP, after: DesiredLRP) -> str:
    if before.instances != after.instances:
        return f"{before.instances} -> {after.instances} instance(s)"
    changed = [
        key for key in ("routes", "annotation", "metric_tags") if getattr(before, key) != getattr(after, key)
    ]
    return ", ".join(changed)
