"""Views of records: older versions of a DesiredLRP or Task, and excerpts of them.

V3 is the record itself. V2 has no image layers. V0 has neither cached dependencies nor millisecond timeouts.
Views are only for reading; they are not stored.
"""

from __future__ import annotations

from dataclasses import replace

from bbs.models.actions import (
    Action,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    map_children,
)
from bbs.models.common import SOURCE_ID, MetricTagValue, ModificationTag
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPKey, DesiredLRPResource, DesiredLRPSchedulingInfo
from bbs.models.layers import exclusive_downloads, shared_dependencies
from bbs.models.task import Task
from bbs.models.workload import VolumePlacement

_NS_PER_MS = 1_000_000


def with_source_id(lrp: DesiredLRP) -> DesiredLRP:
    """Fill ``metrics_guid`` and the static ``source_id`` tag from each other, if one is missing.

    Used in every response with a whole DesiredLRP, but not in events.
    """
    tag = lrp.metric_tags.get(SOURCE_ID)
    if tag is None and lrp.metrics_guid:
        tags = {**lrp.metric_tags, SOURCE_ID: MetricTagValue(static=lrp.metrics_guid)}
        return replace(lrp, metric_tags=tags)
    if tag is not None and not lrp.metrics_guid:
        return replace(lrp, metrics_guid=tag.static)
    return lrp


def desired_lrp_v2(lrp: DesiredLRP) -> DesiredLRP:
    """The V2 view: shared layers as cached dependencies, exclusive layers as downloads before ``setup``."""
    return replace(
        lrp,
        cached_dependencies=shared_dependencies(lrp.image_layers) + lrp.cached_dependencies,
        setup=_downloads_first(exclusive_downloads(lrp.image_layers, lrp.legacy_download_user), lrp.setup),
        image_layers=(),
    )


def desired_lrp_v0(lrp: DesiredLRP) -> DesiredLRP:
    """The V0 view: V2 with dependencies as downloads before ``setup``, and timeouts also in the old units.

    As in the Go server, ``try`` and ``emit_progress`` are replaced by their inner action.
    """
    v2 = desired_lrp_v2(lrp)
    downloads = tuple(
        DownloadAction(
            artifact=dependency.name,
            from_=dependency.from_,
            to=dependency.to,
            cache_key=dependency.cache_key,
            log_source=dependency.log_source,
            user=v2.legacy_download_user,
        )
        for dependency in v2.cached_dependencies
    )
    return replace(
        v2,
        setup=_downloads_first(downloads, _with_old_timeouts(v2.setup)),
        action=_with_old_timeouts(v2.action),
        monitor=_with_old_timeouts(v2.monitor),
        cached_dependencies=(),
        deprecated_start_timeout_s=v2.start_timeout_ms // 1000,
    )


def task_v2(task: Task) -> Task:
    """The V2 view: shared layers as cached dependencies, exclusive layers as downloads before ``action``."""
    definition = task.task_definition
    if definition is None:
        return task
    downloads = exclusive_downloads(definition.image_layers, definition.legacy_download_user)
    return replace(
        task,
        task_definition=replace(
            definition,
            cached_dependencies=shared_dependencies(definition.image_layers) + definition.cached_dependencies,
            action=_downloads_first(downloads, definition.action),
            image_layers=(),
        ),
    )


def scheduling_info(lrp: DesiredLRP) -> DesiredLRPSchedulingInfo:
    """The data for placement and for routers."""
    return DesiredLRPSchedulingInfo(
        desired_lrp_key=DesiredLRPKey(
            process_guid=lrp.process_guid, domain=lrp.domain, log_guid=lrp.log_guid
        ),
        annotation=lrp.annotation,
        instances=lrp.instances,
        desired_lrp_resource=DesiredLRPResource(
            memory_mb=lrp.memory_mb, disk_mb=lrp.disk_mb, root_fs=lrp.root_fs, max_pids=lrp.max_pids
        ),
        routes=lrp.routes or {},
        modification_tag=lrp.modification_tag or ModificationTag(),
        volume_placement=VolumePlacement(driver_names=tuple(mount.driver for mount in lrp.volume_mounts)),
        placement_tags=lrp.placement_tags,
    )


def routing_info(lrp: DesiredLRP) -> DesiredLRP:
    """A DesiredLRP with only the fields for routers and metrics."""
    return DesiredLRP(
        process_guid=lrp.process_guid,
        domain=lrp.domain,
        log_guid=lrp.log_guid,
        instances=lrp.instances,
        routes=lrp.routes,
        modification_tag=lrp.modification_tag,
        metric_tags=lrp.metric_tags,
    )


def _downloads_first(downloads: tuple[DownloadAction, ...], action: Action | None) -> Action | None:
    if not downloads:
        return action
    parallel = ParallelAction(actions=downloads)
    return SerialAction(actions=(parallel,) if action is None else (parallel, action))


def _with_old_timeouts(action: Action | None) -> Action | None:
    return None if action is None else _old(action)


def _old(action: Action) -> Action:
    """The action for old clients: timeouts also in ns, Try and EmitProgress replaced by what they wrap."""
    match action:
        case TimeoutAction():
            inner, old_timeout = _with_old_timeouts(action.action), action.timeout_ms * _NS_PER_MS
            return replace(action, action=inner, deprecated_timeout_ns=old_timeout)
        case TryAction() | EmitProgressAction() if action.action is not None:
            return _old(action.action)
        case _:
            return map_children(action, _old)
