"""Validation of task definitions and task requests."""

from __future__ import annotations

from bbs.models.task import TaskDefinition
from bbs.models.validation import parts
from bbs.models.validation.actions import required_action
from bbs.models.validation.egress import validate_security_group_rule
from bbs.models.validation.fields import (
    annotation,
    credentials,
    guid,
    has_scheme,
    invalid_field,
    not_negative,
    required,
)


def validate_task_definition(definition: TaskDefinition) -> list[str]:
    """Errors of a definition. Metric tags, variables and mounts are not checked."""
    errors = [] if has_scheme(definition.root_fs) else [invalid_field("rootfs")]
    errors += required_action(definition.action)
    errors += not_negative(memory_mb=definition.memory_mb, disk_mb=definition.disk_mb)
    errors += parts.log_rate_limit(definition.log_rate_limit)
    errors += not_negative(max_pids=definition.max_pids)
    errors += annotation(definition.annotation)
    for rule in definition.egress_rules:
        if validate_security_group_rule(rule):
            errors.append(invalid_field("egress_rules"))
    errors += credentials(definition.image_username, definition.image_password)
    errors += parts.cached_dependencies(definition.cached_dependencies)
    errors += parts.image_layers(definition.image_layers, definition.legacy_download_user)
    return errors


def validate_desire_task_request(task_guid: str, domain: str, definition: TaskDefinition | None) -> list[str]:
    """Validate a new task."""
    errors = guid(task_guid, "task_guid") + required(domain, "domain")
    if definition is None:
        return [*errors, invalid_field("task_definition")]
    return errors + validate_task_definition(definition)


def validate_task_on_cell_request(task_guid: str, cell_id: str) -> list[str]:
    """Validate start and complete, which name task and cell."""
    return guid(task_guid, "task_guid") + required(cell_id, "cell_id")


def validate_task_failure_request(task_guid: str, reason: str) -> list[str]:
    """Validate reject and the older fail; the reason is named ``failure_reason`` for both."""
    return guid(task_guid, "task_guid") + required(reason, "failure_reason")


def validate_task_guid_request(task_guid: str) -> list[str]:
    """Validate get, cancel, resolve and delete."""
    return guid(task_guid, "task_guid")
