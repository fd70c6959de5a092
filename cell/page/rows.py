"""Rows of the page: models as small JSON objects. Pure; every text is bounded.

Times are ms since the epoch, sizes MiB unless a name says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, Presence
from bbs.models.auction import CellState
from bbs.models.cell import CellPresence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.events import ActualLRPInfo
from bbs.models.task import Task
from cell.page.board import Row
from cell.story.stories import Happened, Moment
from executor.model import Container, ContainerMetrics, ContainerState, PortMapping, Resources
from rep import tags

NAME_MOST: Final = 200
TEXT_MOST: Final = 1000
"""Characters of a name, and of a reason or an answer."""
PORTS_MOST: Final = 16
ROUTES_MOST: Final = 8
NS_PER_MS: Final = 1_000_000
MIB: Final = 1 << 20

APP_NAME: Final = "app_name"
"""The metric tag with the name of an app, as a Cloud Controller sets it."""
ROUTER: Final = "cf-router"

ON_A_CELL: Final = frozenset({"CLAIMED", "RUNNING"})
STARTING: Final = frozenset({ContainerState.RESERVED, ContainerState.INITIALIZING, ContainerState.CREATED})


def cut(text: str, most: int = TEXT_MOST) -> str:
    """The text, shortened in the middle: causes are often at the end of a reason."""
    if len(text) <= most:
        return text
    half = (most - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def named(text: str) -> str:
    """A name, shortened."""
    return cut(text, NAME_MOST)


# -- the control plane's records -------------------------------------------------------------------------


def app(lrp: DesiredLRP) -> Row:
    """A DesiredLRP. desired: its instances."""
    tag = lrp.metric_tags.get(APP_NAME)
    return {
        "name": named(tag.static if tag is not None and tag.static else lrp.process_guid),
        "domain": named(lrp.domain),
        "desired": lrp.instances,
        "mem": lrp.memory_mb,
        "disk": lrp.disk_mb,
        "ports": list(lrp.ports[:PORTS_MOST]),
        "routes": hostnames(lrp.routes or {}),
        "image": named(lrp.root_fs),
        "tags": [named(each) for each in lrp.placement_tags[:ROUTES_MOST]],
    }


def hostnames(routes: Mapping[str, bytes]) -> list[str]:
    """The host names of the router's data, as far as it is in the usual form."""
    try:
        entries = json.loads(routes.get(ROUTER, b"[]"))
        found = [str(name) for entry in entries for name in entry.get("hostnames") or ()]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []
    return [named(name) for name in found[:ROUTES_MOST]]


def instance_id(key: ActualLRPKey, presence: Presence) -> str:
    """The id of an instance row: of a record, not of a container, which changes with each restart."""
    return f"{key.process_guid}/{key.index}/{presence.name.lower()}"


def instance(key: ActualLRPKey, instance_key: ActualLRPInstanceKey, info: ActualLRPInfo) -> Row:
    """A record of an index. The event of a crash still names the instance that crashed."""
    placed = info.state in ON_A_CELL
    return {
        "app": key.process_guid,
        "index": key.index,
        "guid": instance_key.instance_guid if placed else "",
        "cell": named(instance_key.cell_id) if placed else "",
        "state": info.state,
        "since": info.since // NS_PER_MS,
        "presence": info.presence.name.lower(),
        "routable": info.routable is not False,
        "crashes": info.crash_count,
        "reason": cut(info.crash_reason),
        "error": cut(info.placement_error),
        **_addresses(info.actual_lrp_net_info),
    }


def info_of(row: ActualLRP) -> ActualLRPInfo:
    """The part of a record that changed events carry."""
    return ActualLRPInfo(
        actual_lrp_net_info=row.actual_lrp_net_info,
        crash_count=row.crash_count,
        crash_reason=row.crash_reason,
        state=row.state,
        placement_error=row.placement_error,
        since=row.since,
        presence=row.presence,
        routable=row.routable,
    )


def _addresses(net: ActualLRPNetInfo) -> dict[str, object]:
    return {
        "address": net.address,
        "inner": net.instance_address,
        "ports": [[port.host_port, port.container_port] for port in net.ports[:PORTS_MOST]],
    }


def task(item: Task) -> Row:
    """A Task. result: the begin of its result file."""
    definition = item.task_definition
    tag = definition.metric_tags.get(APP_NAME) if definition is not None else None
    return {
        "name": named(tag.static if tag is not None and tag.static else item.task_guid),
        "domain": named(item.domain),
        "guid": item.task_guid,
        "state": item.state.name.upper(),
        "cell": named(item.cell_id),
        "created": item.created_at // NS_PER_MS,
        "since": item.updated_at // NS_PER_MS,
        "failed": item.failed,
        "reason": cut(item.failure_reason),
        "rejections": item.rejection_count,
        "error": cut(item.rejection_reason),
        "result": cut(item.result),
        "mem": definition.memory_mb if definition is not None else 0,
        "image": named(definition.root_fs) if definition is not None else "",
    }


# -- cells -----------------------------------------------------------------------------------------------


def cell(
    *,
    zone: str,
    state: str,
    total: Resources,
    left: Resources,
    starting: int,
    instances: int,
    tasks: int,
    **more: object,
) -> Row:
    """A cell with its capacity. state: ``ok``, ``starting``, ``unhealthy``, ``evacuating``, ``unknown``."""
    return {
        "zone": named(zone),
        "state": state,
        "mem": [total.memory_mb - left.memory_mb, total.memory_mb],
        "disk": [total.disk_mb - left.disk_mb, total.disk_mb],
        "containers": [total.containers - left.containers, total.containers],
        "starting": starting,
        "instances": instances,
        "tasks": tasks,
        **more,
    }


def remote_cell(presence: CellPresence, state: CellState | str) -> Row:
    """A cell of another process. state: as its rep says it, or why it does not."""
    if isinstance(state, str):
        capacity = presence.capacity
        total = (
            Resources(memory_mb=0, disk_mb=0, containers=0)
            if capacity is None
            else Resources(
                memory_mb=capacity.memory_mb, disk_mb=capacity.disk_mb, containers=capacity.containers
            )
        )
        return cell(
            zone=presence.zone,
            state="unknown",
            total=total,
            left=total,
            starting=0,
            instances=0,
            tasks=0,
            note=cut(state),
            url=named(presence.rep_url),
        )
    total, left = (
        Resources(memory_mb=each.memory_mb, disk_mb=each.disk_mb, containers=each.containers)
        for each in (state.total_resources, state.available_resources)
    )
    return cell(
        zone=presence.zone,
        state="evacuating" if state.evacuating else "ok",
        total=total,
        left=left,
        starting=state.starting_container_count,
        instances=len(state.lrps),
        tasks=len(state.tasks),
        url=named(presence.rep_url),
    )


# -- containers of this process --------------------------------------------------------------------------


def is_task(container: Container) -> bool:
    return container.tags.get(tags.LIFECYCLE) == tags.TASK_LIFECYCLE


def app_of(container: Container) -> str:
    """The process guid of an instance."""
    return container.tags.get(tags.PROCESS_GUID, "")


def index_of(container: Container) -> int:
    """The index of an instance; 0 for tags that name none."""
    try:
        return tags.lrp_key(container).index
    except tags.InvalidTags:
        return 0


def name_of(container: Container) -> str:
    """The name of the app, or the guid of its process or task."""
    labels = container.run_info.metrics_config.tags
    return named(labels.get(APP_NAME) or app_of(container) or container.guid)


def reading(container: Container, metrics: ContainerMetrics | None) -> Row:
    """A container of this process: its state and what it uses. Sizes in bytes, cpu in percent of a core."""
    row: dict[str, object] = {"phase": container.state.value}
    if metrics is not None:
        row |= {
            "mem": metrics.memory_usage,
            "mem_most": metrics.memory_limit,
            "disk": metrics.disk_usage,
            "disk_most": metrics.disk_limit,
            "cpu": round(metrics.cpu_percentage, 1),
        }
    return row


def app_on_cell(container: Container) -> Row:
    """An app as its cell knows it: without the number of instances that are desired."""
    return {
        "name": name_of(container),
        "domain": named(container.tags.get(tags.DOMAIN, "")),
        "desired": None,
        "mem": container.memory_mb,
        "disk": container.disk_mb,
        "ports": list(container.run_info.ports[:PORTS_MOST]),
        "routes": [],
        "image": named(container.run_info.root_fs),
        "tags": [],
    }


def instance_on_cell(container: Container, cell_id: str, since_ms: int) -> Row:
    """An instance as its cell knows it."""
    result = container.run_result
    state = "CLAIMED" if container.state in STARTING else "RUNNING"
    if container.state is ContainerState.COMPLETED:
        state = "CRASHED" if result.failed and not result.stopped else "STOPPED"
    return {
        "app": app_of(container),
        "index": index_of(container),
        "guid": container.guid,
        "cell": named(cell_id),
        "state": state,
        "since": since_ms,
        "presence": "ordinary",
        "routable": container.routable,
        "crashes": 0,
        "reason": cut(result.failure_reason) if state == "CRASHED" else "",
        "error": "",
        "address": container.external_ip,
        "inner": container.internal_ip,
        "ports": _ports(container.ports),
    }


def task_on_cell(container: Container, cell_id: str, since_ms: int) -> Row:
    """A Task as its cell knows it."""
    result = container.run_result
    completed = container.state is ContainerState.COMPLETED
    return {
        "name": name_of(container),
        "domain": named(container.tags.get(tags.DOMAIN, "")),
        "guid": container.guid,
        "state": "COMPLETED" if completed else "RUNNING",
        "cell": named(cell_id),
        "created": container.allocated_at // NS_PER_MS,
        "since": since_ms,
        "failed": result.failed,
        "reason": cut(result.failure_reason),
        "rejections": 0,
        "error": "",
        "result": "",
        "mem": container.memory_mb,
        "image": named(container.run_info.root_fs),
    }


def _ports(ports: Sequence[PortMapping]) -> list[list[int]]:
    return [[port.host_port, port.container_port] for port in ports[:PORTS_MOST]]


def report(cell_id: str, outcome: Mapping[str, Any], now_s: float) -> Row:
    """A report that the control plane has not answered. outcome: a row of the courier's overview."""
    return {
        "cell": named(cell_id),
        "guid": named(str(outcome["container_guid"])),
        "report": str(outcome["report"]),
        "recorded": int(outcome["recorded_at"] * 1000),
        "stored": bool(outcome["stored"]),
        "attempts": int(outcome["attempts"]),
        "answer": cut(str(outcome["answer"])),
        "next": round(now_s + outcome["next_attempt_in_s"]) * 1000,
    }


def activity(cell_id: str, happened: Happened) -> Row:
    """Something that happened on a cell."""
    container = happened.container
    return {
        "cell": named(cell_id),
        "guid": container.guid,
        "task": is_task(container),
        "app": app_of(container),
        "name": name_of(container),
        "index": index_of(container),
        "failed": container.run_result.failed,
        "stopped": container.run_result.stopped,
        **moment(happened.moment),
    }


def moment(item: Moment) -> dict[str, object]:
    """A moment of a story."""
    return {"at": item.time_ns // NS_PER_MS, "what": item.what, "text": cut(item.text)}


def moments(items: Iterable[Moment]) -> list[dict[str, object]]:
    """The moments of a story, oldest first."""
    return [moment(item) for item in items]
