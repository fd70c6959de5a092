"""What a record looks like to those who don't get it whole.

Older clients are shown a DesiredLRP or Task in terms they know: V3 is the record itself, V2 has no
image layers, V0 has neither cached dependencies nor millisecond timeouts. Others want a slice of it. All
are rewrites for reading; nothing here is stored.
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
    """``metrics_guid`` and the static ``source_id`` tag filled from each other, when one is missing.

    Done for every answer that carries a whole DesiredLRP, not for events.
    """
    tag = lrp.metric_tags.get(SOURCE_ID)
    if tag is None and lrp.metrics_guid:
        tags = {**lrp.metric_tags, SOURCE_ID: MetricTagValue(static=lrp.metrics_guid)}
        return replace(lrp, metric_tags=tags)
    if tag is not None and not lrp.metrics_guid:
        return replace(lrp, metrics_guid=tag.static)
    return lrp


def desired_lrp_v2(lrp: DesiredLRP) -> DesiredLRP:
    """Shared layers as cached dependencies, exclusive ones as downloads ahead of ``setup``."""
    return replace(
        lrp,
        cached_dependencies=shared_dependencies(lrp.image_layers) + lrp.cached_dependencies,
        setup=_downloads_first(exclusive_downloads(lrp.image_layers, lrp.legacy_download_user), lrp.setup),
        image_layers=(),
    )


def desired_lrp_v0(lrp: DesiredLRP) -> DesiredLRP:
    """V2 with dependencies as downloads ahead of ``setup`` too, and timeouts also in their old units.

    As in the Go server, ``try`` and ``emit_progress`` are replaced by what they wrap.
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
    """Shared layers as cached dependencies, exclusive ones as downloads ahead of ``action``."""
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
    """What placing an instance depends on, and what routers need."""
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
    """A DesiredLRP with nothing but what routers and metrics need."""
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
    """The action as old clients read it: timeouts in ns too; a wrapper Try or EmitProgress is left out."""
    match action:
        case TimeoutAction():
            inner, old_timeout = _with_old_timeouts(action.action), action.timeout_ms * _NS_PER_MS
            return replace(action, action=inner, deprecated_timeout_ns=old_timeout)
        case TryAction() | EmitProgressAction() if action.action is not None:
            return _old(action.action)
        case _:
            return map_children(action, _old)
