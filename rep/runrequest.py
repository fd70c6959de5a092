"""RunRequests built from a DesiredLRP or a Task.

Pure: values in, values out. ``rep.ecr`` exchanges the credentials of cloud registries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bbs.models.actions import Action, ParallelAction, SerialAction
from bbs.models.common import CertificateProperties, LogRateLimit, MetricTagValue
from bbs.models.desired_lrp import INTERNAL_ROUTER, DesiredLRP
from bbs.models.layers import exclusive_downloads, shared_dependencies
from bbs.models.task import Task
from bbs.models.workload import ImageLayer
from bbs.models.workload import VolumeMount as DesiredVolumeMount
from executor.model import LogConfig, MetricsConfig, RunInfo, RunRequest, VolumeMount
from rep import tags
from rep.rootfs import StackMap, UnknownStack, layered

UNLIMITED_LOG_RATE = -1


class RunRequestError(Exception):
    """The workload cannot run on this cell. The text names the part and the reason, for the app's owner.

    detail: more information, for the cell's log only.
    """

    def __init__(self, text: str, *, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequestBuilder:
    """Builds run requests for one cell with its stacks and its layering mode."""

    stacks: StackMap
    layering_mode: str = "single-layer"

    def for_lrp(self, desired: DesiredLRP, index: int, instance_guid: str) -> RunRequest:
        """The request for an LRP instance. Raises RunRequestError."""
        metric_tags = resolve_metric_tags(desired.metric_tags, index, instance_guid)
        root_fs, layers = self._root_fs(desired.root_fs, desired.image_layers)
        downloads = exclusive_downloads(layers, desired.legacy_download_user)
        identity = (
            ("INSTANCE_GUID", instance_guid),
            ("INSTANCE_INDEX", str(index)),
            ("CF_INSTANCE_GUID", instance_guid),
            ("CF_INSTANCE_INDEX", str(index)),
        )
        info = RunInfo(
            root_fs=root_fs,
            cpu_weight=max(desired.cpu_weight, 1),
            ports=tuple(port & 0xFFFF for port in desired.ports),
            internal_routes=internal_routes(desired.routes),
            log_config=LogConfig(
                guid=desired.log_guid, index=index, source_name=desired.log_source, tags=metric_tags
            ),
            metrics_config=MetricsConfig(guid=desired.metrics_guid, index=index, tags=metric_tags),
            start_timeout_ms=desired.start_timeout_ms,
            privileged=desired.privileged,
            cached_dependencies=(*shared_dependencies(layers), *desired.cached_dependencies),
            setup=_with_setup(downloads, desired.setup),
            action=desired.action,
            monitor=desired.monitor,
            check_definition=desired.check_definition,
            egress_rules=desired.egress_rules,
            env=(*identity, *((variable.name, variable.value) for variable in desired.environment_variables)),
            trusted_system_certificates_path=desired.trusted_system_certificates_path,
            volume_mounts=tuple(map(_volume_mount, desired.volume_mounts)),
            network=desired.network,
            certificate_properties=desired.certificate_properties or CertificateProperties(),
            image_username=desired.image_username,
            image_password=desired.image_password,
            sidecars=desired.sidecars,
            log_rate_limit_bytes_per_second=_log_rate_limit(desired.log_rate_limit),
            volume_mounted_files=desired.volume_mounted_files,
        )
        return RunRequest(guid=instance_guid, run_info=info)

    def for_task(self, task: Task) -> RunRequest:
        """The request for a task. Raises RunRequestError."""
        definition = task.task_definition
        if definition is None:
            raise RunRequestError(f"task {task.task_guid} has no definition")
        metric_tags = resolve_metric_tags(definition.metric_tags)
        root_fs, layers = self._root_fs(definition.root_fs, definition.image_layers)
        downloads = exclusive_downloads(layers, definition.legacy_download_user)
        info = RunInfo(
            root_fs=root_fs,
            cpu_weight=definition.cpu_weight,
            log_config=LogConfig(
                guid=definition.log_guid, source_name=definition.log_source, tags=metric_tags
            ),
            metrics_config=MetricsConfig(guid=definition.metrics_guid, tags=metric_tags),
            privileged=definition.privileged,
            cached_dependencies=(*shared_dependencies(layers), *definition.cached_dependencies),
            setup=_with_setup(downloads, None),
            action=definition.action,
            egress_rules=definition.egress_rules,
            env=tuple((variable.name, variable.value) for variable in definition.environment_variables),
            trusted_system_certificates_path=definition.trusted_system_certificates_path,
            volume_mounts=tuple(map(_volume_mount, definition.volume_mounts)),
            network=definition.network,
            certificate_properties=definition.certificate_properties or CertificateProperties(),
            image_username=definition.image_username,
            image_password=definition.image_password,
            log_rate_limit_bytes_per_second=_log_rate_limit(definition.log_rate_limit),
            volume_mounted_files=definition.volume_mounted_files,
        )
        return RunRequest(guid=task.task_guid, run_info=info, tags={tags.RESULT_FILE: definition.result_file})

    def _root_fs(self, root_fs: str, layers: Sequence[ImageLayer]) -> tuple[str, tuple[ImageLayer, ...]]:
        rewritten, remaining = layered(root_fs, layers, self.layering_mode)
        try:
            return self.stacks.resolve(rewritten), remaining
        except UnknownStack as error:
            raise RunRequestError(f"{error}: {error.root_fs}") from error


def resolve_metric_tags(
    metric_tags: Mapping[str, MetricTagValue], index: int | None = None, instance_guid: str = ""
) -> dict[str, str]:
    """The tags as text. Dynamic values need an index, which a task lacks: RunRequestError."""
    resolved: dict[str, str] = {}
    for name, value in metric_tags.items():
        if index is None and value.dynamic:
            raise RunRequestError(f"metric tag {name!r}: a task has no {value.dynamic.name}")
        resolved[name] = value.of_instance(index or 0, instance_guid)
    return resolved


def internal_routes(routes: Mapping[str, bytes] | None) -> tuple[str, ...]:
    """Host names under the internal router's route key. Raises RunRequestError for any other content."""
    raw = (routes or {}).get(INTERNAL_ROUTER)
    if raw is None:
        return ()
    try:
        decoded = json.loads(raw)
        return tuple(str(route["hostname"]) for route in decoded or ())
    except (ValueError, TypeError, KeyError) as error:
        raise RunRequestError(
            f"route {INTERNAL_ROUTER!r} is not an array of hostnames", detail=repr(error)
        ) from error


def _log_rate_limit(limit: LogRateLimit | None) -> int:
    return UNLIMITED_LOG_RATE if limit is None else limit.bytes_per_second


def _volume_mount(mount: DesiredVolumeMount) -> VolumeMount:
    if mount.mode not in ("r", "rw"):
        raise RunRequestError(f"unrecognized volume mount mode: {mount.mode!r} of {mount.container_dir}")
    shared = mount.shared
    config: object = {}
    if shared is not None and shared.mount_config:
        try:
            config = json.loads(shared.mount_config)
        except ValueError as error:
            raise RunRequestError(
                f"mount_config of {mount.container_dir} is not JSON", detail=str(error)
            ) from error
    if not isinstance(config, dict):
        raise RunRequestError(f"mount_config of {mount.container_dir} is not a JSON object")
    return VolumeMount(
        driver=mount.driver,
        volume_id=shared.volume_id if shared else "",
        container_dir=mount.container_dir,
        read_only=mount.mode == "r",
        config=config,
    )


def _with_setup(downloads: tuple[Action, ...], setup: Action | None) -> Action | None:
    if not downloads:
        return setup
    parallel = ParallelAction(actions=downloads)
    return parallel if setup is None else SerialAction(actions=(parallel, setup))
