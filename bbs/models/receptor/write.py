"""Writers of the Receptor's form of November 2015.

Data that this form lacks is omitted; image layers are written as the equivalent downloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bbs.models.actions import Action
from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.cell import CellCapacity, CellPresence
from bbs.models.codec import action_to_json, to_json
from bbs.models.common import SOURCE_ID, EnvironmentVariable, MetricTagValue, ModificationTag
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.task import Task, TaskDefinition
from bbs.models.views import desired_lrp_v2, task_v2
from bbs.models.workload import SecurityGroupRule

MAX_CPU_WEIGHT = 100

_NS_PER_MS = 1_000_000
_ACTION_KEYS_SINCE = (
    "suppress_log_output",
    "volume_mounted_files",
    "checksum_algorithm",
    "checksum_value",
    "timeout_ms",
)
_UPDATABLE = ("instances", "routes", "annotation")


def write_action(action: Action) -> dict[str, Any]:
    """An action tree, with timeouts in nanoseconds."""
    return _older(action_to_json(action))


def write_desired_lrp(lrp: DesiredLRP) -> dict[str, Any]:
    """Response body of a DesiredLRP; also valid as create request."""
    lrp = desired_lrp_v2(lrp)
    out: dict[str, Any] = {
        "process_guid": lrp.process_guid,
        "domain": lrp.domain,
        "rootfs": lrp.root_fs,
        "instances": lrp.instances,
    }
    out |= _env(lrp.environment_variables)
    out |= {
        "setup": None if lrp.setup is None else write_action(lrp.setup),
        "action": None if lrp.action is None else write_action(lrp.action),
        "monitor": None if lrp.monitor is None else write_action(lrp.monitor),
        "start_timeout": lrp.start_timeout_ms // 1000,
        "disk_mb": lrp.disk_mb,
        "memory_mb": lrp.memory_mb,
        "cpu_weight": min(lrp.cpu_weight, MAX_CPU_WEIGHT),
        "privileged": lrp.privileged,
        "ports": list(lrp.ports),
    }
    if lrp.routes:
        out["routes"] = to_json(lrp)["routes"]
    out |= {
        "log_guid": lrp.log_guid,
        "log_source": lrp.log_source,
        "metrics_guid": lrp.metrics_guid or lrp.metric_tags.get(SOURCE_ID, MetricTagValue()).static,
    }
    if lrp.annotation:
        out["annotation"] = lrp.annotation
    out |= _egress(lrp.egress_rules)
    out["modification_tag"] = to_json(lrp.modification_tag or ModificationTag())
    return out


def write_desired_lrp_update(update: DesiredLRPUpdate) -> dict[str, Any]:
    """The updatable fields that are set; the old API can update three."""
    return {key: value for key, value in to_json(update).items() if key in _UPDATABLE}


def write_actual_lrp(row: ActualLRP) -> dict[str, Any]:
    """Response body of the row that represents an index."""
    key, instance_key, net_info = row.actual_lrp_key, row.actual_lrp_instance_key, row.actual_lrp_net_info
    out: dict[str, Any] = {
        "process_guid": key.process_guid,
        "instance_guid": instance_key.instance_guid,
        "cell_id": instance_key.cell_id,
        "domain": key.domain,
        "index": key.index,
        "address": net_info.address,
        "ports": [
            {"container_port": port.container_port, "host_port": port.host_port} for port in net_info.ports
        ],
        "state": row.state or "INVALID",
        "crash_count": row.crash_count,
    }
    if row.crash_reason:
        out["crash_reason"] = row.crash_reason
    if row.placement_error:
        out["placement_error"] = row.placement_error
    return out | {
        "since": row.since,
        "evacuating": row.presence is Presence.EVACUATING,
        "modification_tag": to_json(row.modification_tag),
    }


def write_task(task: Task) -> dict[str, Any]:
    """Response body of a Task; ``result_file`` is never included."""
    task = task_v2(task)
    definition = task.task_definition or TaskDefinition()
    out: dict[str, Any] = {
        "task_guid": task.task_guid,
        "domain": task.domain,
        "rootfs": definition.root_fs,
        "action": None if definition.action is None else write_action(definition.action),
        "completion_callback_url": definition.completion_callback_url,
        "cpu_weight": min(definition.cpu_weight, MAX_CPU_WEIGHT),
        "disk_mb": definition.disk_mb,
        "memory_mb": definition.memory_mb,
        "privileged": definition.privileged,
        "log_guid": definition.log_guid,
        "log_source": definition.log_source,
        "metrics_guid": definition.metrics_guid
        or definition.metric_tags.get(SOURCE_ID, MetricTagValue()).static,
        "result_file": "",
        "cell_id": task.cell_id,
        "created_at": task.created_at,
        "state": task.state.name.upper(),
        "failed": task.failed,
        "failure_reason": task.failure_reason,
        "result": task.result,
    }
    out |= _env(definition.environment_variables)
    if definition.annotation:
        out["annotation"] = definition.annotation
    return out | _egress(definition.egress_rules)


def write_cell(presence: CellPresence) -> dict[str, Any]:
    """Response body of a cell."""
    return {
        "cell_id": presence.cell_id,
        "zone": presence.zone,
        "capacity": to_json(presence.capacity or CellCapacity()),
        "rootfs_providers": {one.name: list(one.properties) for one in presence.rootfs_providers},
    }


def _env(variables: Iterable[EnvironmentVariable]) -> dict[str, Any]:
    env = [to_json(variable) for variable in variables]
    return {"env": env} if env else {}


def _egress(rules: Iterable[SecurityGroupRule]) -> dict[str, Any]:
    written = [to_json(rule) for rule in rules if rule.protocol != "icmpv6"]
    for rule in written:
        rule.pop("annotations", None)
    return {"egress_rules": written} if written else {}


def _older(tree: dict[str, Any]) -> dict[str, Any]:
    """The current JSON of an action tree, converted to the keys of 2015."""
    return {kind: _older_body(kind, body) for kind, body in tree.items()}


def _older_body(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    out = {key: value for key, value in body.items() if key not in _ACTION_KEYS_SINCE}
    if kind == "timeout":
        out["timeout"] = body["timeout_ms"] * _NS_PER_MS
    if kind == "run":
        limits = {key: value for key, value in body.get("resource_limits", {}).items() if key == "nofile"}
        out.pop("resource_limits", None)
        if limits:
            out["resource_limits"] = limits
    if kind in ("timeout", "try", "emit_progress"):
        inner = body.get("action")
        out["action"] = None if inner is None else _older(inner)
    if kind in ("parallel", "serial", "codependent"):
        out["actions"] = [_older(inner) for inner in body.get("actions", [])]
    return out
