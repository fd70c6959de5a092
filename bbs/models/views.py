"""What a record looks like to those who don't get it whole.

Older clients are shown a DesiredLRP or Task in terms they know: V3 is the record itself, V2 has no
image layers, V0 has neither cached dependencies nor millisecond timeouts. Others want a slice of it. All
are rewrites for reading; nothing here is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    SerialAction,
    TimeoutAction,
    TryAction,
)
from bbs.models.common import SOURCE_ID, MetricTagValue, ModificationTag
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPKey, DesiredLRPResource, DesiredLRPSchedulingInfo
from bbs.models.task import Task
from bbs.models.workload import CachedDependency, DigestAlgorithm, ImageLayer, LayerType, VolumePlacement

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
        cached_dependencies=_shared(lrp.image_layers) + lrp.cached_dependencies,
        setup=_downloads_first(_exclusive(lrp.image_layers, lrp.legacy_download_user), lrp.setup),
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
    downloads = _exclusive(definition.image_layers, definition.legacy_download_user)
    return replace(
        task,
        task_definition=replace(
            definition,
            cached_dependencies=_shared(definition.image_layers) + definition.cached_dependencies,
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


def _shared(layers: Sequence[ImageLayer]) -> tuple[CachedDependency, ...]:
    return tuple(
        CachedDependency(
            name=layer.name,
            from_=layer.url,
            to=layer.destination_path,
            cache_key=_cache_key(layer),
            checksum_algorithm=_algorithm(layer),
            checksum_value=layer.digest_value,
        )
        for layer in layers
        if layer.layer_type is LayerType.SHARED
    )


def _exclusive(layers: Sequence[ImageLayer], user: str) -> tuple[DownloadAction, ...]:
    return tuple(
        DownloadAction(
            artifact=layer.name,
            from_=layer.url,
            to=layer.destination_path,
            cache_key=_cache_key(layer),
            user=user,
            checksum_algorithm=_algorithm(layer),
            checksum_value=layer.digest_value,
        )
        for layer in layers
        if layer.layer_type is LayerType.EXCLUSIVE
    )


def _algorithm(layer: ImageLayer) -> str:
    if layer.digest_algorithm is DigestAlgorithm.DigestAlgorithmInvalid:
        return ""
    return layer.digest_algorithm.name.lower()


def _cache_key(layer: ImageLayer) -> str:
    return f"{_algorithm(layer)}:{layer.digest_value}" if layer.digest_value else layer.url


def _downloads_first(downloads: tuple[DownloadAction, ...], action: Action | None) -> Action | None:
    if not downloads:
        return action
    parallel = ParallelAction(actions=downloads)
    return SerialAction(actions=(parallel,) if action is None else (parallel, action))


def _with_old_timeouts(action: Action | None) -> Action | None:
    return None if action is None else _old(action)


def _old(action: Action) -> Action:
    match action:
        case TimeoutAction():
            return replace(
                action,
                action=_with_old_timeouts(action.action),
                deprecated_timeout_ns=action.timeout_ms * _NS_PER_MS,
            )
        case TryAction() | EmitProgressAction() if action.action is not None:
            return _old(action.action)
        case ParallelAction() | SerialAction() | CodependentAction():
            return replace(action, actions=tuple(_old(inner) for inner in action.actions))
        case _:
            return action
