"""Validation of DesiredLRPs and their updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bbs.models.common import File
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.validation import parts
from bbs.models.validation.actions import named_action, required_action
from bbs.models.validation.fields import (
    annotation,
    credentials,
    guid,
    has_scheme,
    invalid_field,
    not_negative,
    required,
)

MAX_ROUTES = 128 * 1024
"""Maximum bytes of the routing data of all routers together."""
MAX_FILES = 1024 * 1024
"""Maximum bytes of all volume-mounted files together."""


def validate_desired_lrp(lrp: DesiredLRP | None) -> list[str]:
    """Errors of a DesiredLRP; ``desired_lrp`` if it is missing.

    The order is that of the Go server, which first checks the whole LRP and then the part that the cell runs.
    Therefore some fields can appear twice.
    """
    if lrp is None:
        return [invalid_field("desired_lrp")]
    return _whole(lrp) + _run_part(lrp)


def _whole(lrp: DesiredLRP) -> list[str]:
    errors = required(lrp.domain, "domain") + required(lrp.root_fs, "rootfs")
    if not has_scheme(lrp.root_fs):
        errors.append(invalid_field("rootfs"))
    errors += not_negative(instances=lrp.instances, memory_mb=lrp.memory_mb, disk_mb=lrp.disk_mb)
    if parts.log_rate_limit(lrp.log_rate_limit):
        errors.append(invalid_field("log_rate_limit_bytes_per_second"))
    errors += not_negative(max_pids=lrp.max_pids)
    errors += annotation(lrp.annotation)
    errors += routes(lrp.routes)
    if not lrp.metric_tags:
        errors.append(invalid_field("metric_tags"))
    else:
        errors += parts.metric_tags(lrp.metric_tags, lrp.metrics_guid)
    return errors


def _run_part(lrp: DesiredLRP) -> list[str]:
    errors = [
        *required(lrp.domain, "domain"),
        *guid(lrp.process_guid, "process_guid"),
        *named_action(lrp.setup, "setup"),
        *required_action(lrp.action),
        *named_action(lrp.monitor, "monitor"),
    ]
    for variable in lrp.environment_variables:
        errors += parts.validate_environment_variable(variable)
    errors += parts.egress_rules(lrp.egress_rules)
    errors += parts.cached_dependencies(lrp.cached_dependencies)
    errors += parts.image_layers(lrp.image_layers, lrp.legacy_download_user)
    for mount in lrp.volume_mounts:
        errors += parts.validate_volume_mount(mount)
    errors += credentials(lrp.image_username, lrp.image_password)
    if lrp.check_definition is not None and (wrong := parts.validate_check_definition(lrp.check_definition)):
        errors += [invalid_field("check_definition"), *wrong]
    errors += parts.log_rate_limit(lrp.log_rate_limit)
    errors += parts.sidecars(lrp.sidecars)
    return errors + _files(lrp.volume_mounted_files)


def validate_desired_lrp_update(update: DesiredLRPUpdate | None) -> list[str]:
    """Errors of an update; a missing update is valid."""
    if update is None:
        return []
    return [
        *not_negative(instances=update.instances or 0),
        *annotation(update.annotation or ""),
        *routes(update.routes),
        *parts.metric_tags(update.metric_tags),
        *credentials(update.image_username or "", update.image_password or ""),
    ]


def validate_update_request(process_guid: str, update: DesiredLRPUpdate | None) -> list[str]:
    """Validate the process guid and the update."""
    return required(process_guid, "process_guid") + validate_desired_lrp_update(update)


def routes(by_router: Mapping[str, bytes] | None) -> list[str]:
    """At most 128 KiB of routing data."""
    total = sum(map(len, (by_router or {}).values()))
    return [invalid_field("routes")] if total > MAX_ROUTES else []


def _files(files: Sequence[File]) -> list[str]:
    total = sum(len(file.content.encode()) for file in files)
    return [invalid_field("volumeMountedFiles")] if total > MAX_FILES else []
