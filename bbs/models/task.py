"""Task: work that runs once, to completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated

from bbs.models.actions import Action
from bbs.models.common import (
    CertificateProperties,
    EnvironmentVariable,
    File,
    LogRateLimit,
    MetricTagValue,
    Network,
)
from bbs.models.meta import FLATTEN, Int32, Int64, Json, UInt32
from bbs.models.workload import CachedDependency, ImageLayer, SecurityGroupRule, VolumeMount


class TaskState(IntEnum):
    """State of a task. The JSON form is the bare name."""

    Invalid = 0
    Pending = 1
    Running = 2
    Completed = 3
    Resolving = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefinition:
    """The work of a task and its container.

    root_fs: URL of the container's root filesystem.
    disk_mb, memory_mb: MiB, 0 is unlimited.
    result_file: path in the container, read after success, at most 50 KiB.
    completion_callback_url: called when the task has ended; empty for no call.
    """

    root_fs: Annotated[str, Json("rootfs")] = ""
    environment_variables: Annotated[tuple[EnvironmentVariable, ...], Json("env", omit=True)] = ()
    action: Annotated[Action | None, Json("action", omit=True)] = None
    disk_mb: Int32 = 0
    memory_mb: Int32 = 0
    cpu_weight: UInt32 = 0
    privileged: bool = False
    log_source: str = ""
    log_guid: str = ""
    metrics_guid: str = ""
    result_file: str = ""
    completion_callback_url: Annotated[str, Json("completion_callback_url", omit=True)] = ""
    annotation: Annotated[str, Json("annotation", omit=True)] = ""
    egress_rules: Annotated[tuple[SecurityGroupRule, ...], Json("egress_rules", omit=True)] = ()
    cached_dependencies: Annotated[tuple[CachedDependency, ...], Json("cached_dependencies", omit=True)] = ()
    legacy_download_user: Annotated[str, Json("legacy_download_user", omit=True)] = ""
    trusted_system_certificates_path: Annotated[str, Json("trusted_system_certificates_path", omit=True)] = ""
    volume_mounts: Annotated[tuple[VolumeMount, ...], Json("volume_mounts", omit=True)] = ()
    network: Annotated[Network | None, Json("network", omit=True)] = None
    placement_tags: Annotated[tuple[str, ...], Json("placement_tags", omit=True)] = ()
    max_pids: Int32 = 0
    certificate_properties: Annotated[
        CertificateProperties | None, Json("certificate_properties", omit=True)
    ] = None
    image_username: str = ""
    image_password: str = ""
    image_layers: Annotated[tuple[ImageLayer, ...], Json("image_layers", omit=True)] = ()
    log_rate_limit: Annotated[LogRateLimit | None, Json("log_rate_limit", omit=True)] = None
    metric_tags: Annotated[Mapping[str, MetricTagValue], Json("metric_tags", omit=True)] = field(
        default_factory=dict
    )
    volume_mounted_files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task and its state.

    task_definition: None only in a damaged record.
    created_at, updated_at, first_completed_at: ns since the epoch; first_completed_at is 0 until completion.
    cell_id: set while it runs.
    result: content of its result file.
    rejection_count: number of failed placements.
    """

    task_definition: Annotated[TaskDefinition | None, FLATTEN] = None
    task_guid: str = ""
    domain: str = ""
    created_at: Int64 = 0
    updated_at: Int64 = 0
    first_completed_at: Int64 = 0
    state: TaskState = TaskState(0)
    cell_id: str = ""
    result: str = ""
    failed: bool = False
    failure_reason: str = ""
    rejection_count: Int32 = 0
    rejection_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCallbackResponse:
    """Body of a completion callback, sent as JSON only.

    created_at: ns since the epoch.
    """

    task_guid: str = ""
    failed: bool = False
    failure_reason: str = ""
    result: str = ""
    annotation: Annotated[str, Json("annotation", omit=True)] = ""
    created_at: Int64 = 0
