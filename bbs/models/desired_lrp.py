"""DesiredLRP: a long-running process, and the parts of it that are sent separately."""

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
    ModificationTag,
    Network,
)
from bbs.models.meta import FLATTEN, Int32, Int64, Json, UInt32
from bbs.models.workload import (
    CachedDependency,
    CheckDefinition,
    ImageLayer,
    SecurityGroupRule,
    Sidecar,
    VolumeMount,
    VolumePlacement,
)


class UpdateStrategy(IntEnum):
    """How an evacuating instance is replaced. An integer in JSON."""

    ROLLING = 0
    RECREATE = 1


INTERNAL_ROUTER = "internal-router"
"""Key of the routes on the internal network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRP:
    """A long-running process: number of instances, actions and container settings.

    root_fs: URL of the container's root filesystem, such as ``docker:///repo#tag``.
    setup: runs before action.
    monitor, check_definition: health checks of an instance.
    start_timeout_ms: milliseconds to become healthy, 0 for no limit.
    disk_mb, memory_mb: MiB, 0 is unlimited.
    cpu_weight: share relative to others.
    max_pids: 0 is unlimited.
    ports: of the container.
    routes: router name -> JSON text of its data.
    modification_tag: set by the BBS.
    deprecated_start_timeout_s: seconds, only written for old clients.
    """

    process_guid: str = ""
    domain: str = ""
    root_fs: Annotated[str, Json("rootfs")] = ""
    instances: Int32 = 0
    environment_variables: Annotated[tuple[EnvironmentVariable, ...], Json("env")] = ()
    setup: Annotated[Action | None, Json("setup", omit=True)] = None
    action: Annotated[Action | None, Json("action", omit=True)] = None
    start_timeout_ms: Int64 = 0
    deprecated_start_timeout_s: Annotated[UInt32, Json("deprecated_timeout_ns", omit=True)] = 0
    monitor: Annotated[Action | None, Json("monitor", omit=True)] = None
    disk_mb: Int32 = 0
    memory_mb: Int32 = 0
    cpu_weight: UInt32 = 0
    privileged: bool = False
    ports: Annotated[tuple[UInt32, ...], Json("ports", omit=True)] = ()
    routes: Annotated[Mapping[str, bytes] | None, Json("routes", omit=True, raw=True)] = None
    log_source: str = ""
    log_guid: str = ""
    metrics_guid: str = ""
    annotation: str = ""
    egress_rules: Annotated[tuple[SecurityGroupRule, ...], Json("egress_rules", omit=True)] = ()
    modification_tag: Annotated[ModificationTag | None, Json("modification_tag", omit=True)] = None
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
    image_username: Annotated[str, Json("image_username", omit=True)] = ""
    image_password: Annotated[str, Json("image_password", omit=True)] = ""
    check_definition: Annotated[CheckDefinition | None, Json("check_definition", omit=True)] = None
    image_layers: Annotated[tuple[ImageLayer, ...], Json("image_layers", omit=True)] = ()
    metric_tags: Annotated[Mapping[str, MetricTagValue], Json("metric_tags", omit=True)] = field(
        default_factory=dict
    )
    sidecars: Annotated[tuple[Sidecar, ...], Json("sidecars", omit=True)] = ()
    log_rate_limit: Annotated[LogRateLimit | None, Json("log_rate_limit", omit=True)] = None
    volume_mounted_files: tuple[File, ...] = ()
    update_strategy: Annotated[UpdateStrategy, Json("update_strategy", number=True)] = UpdateStrategy(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRPUpdate:
    """An update of a DesiredLRP. Fields that are None, and empty tags, stay unchanged.

    routes, metric_tags: replace all existing ones.
    """

    instances: Annotated[Int32 | None, Json("instances", omit=True)] = None
    routes: Annotated[Mapping[str, bytes] | None, Json("routes", omit=True, raw=True)] = None
    annotation: Annotated[str | None, Json("annotation", omit=True)] = None
    metric_tags: Annotated[Mapping[str, MetricTagValue], Json("metric_tags", omit=True)] = field(
        default_factory=dict
    )
    image_username: Annotated[str | None, Json("image_username", omit=True)] = None
    image_password: Annotated[str | None, Json("image_password", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRPKey:
    """The identifiers of a DesiredLRP."""

    process_guid: str = ""
    domain: str = ""
    log_guid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRPResource:
    """Resources of one instance.

    memory_mb, disk_mb: MiB.
    """

    memory_mb: Int32 = 0
    disk_mb: Int32 = 0
    root_fs: Annotated[str, Json("rootfs")] = ""
    max_pids: Int32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLRPSchedulingInfo:
    """The data to place and route a DesiredLRP, without its actions."""

    desired_lrp_key: Annotated[DesiredLRPKey, FLATTEN] = DesiredLRPKey()
    annotation: str = ""
    instances: Int32 = 0
    desired_lrp_resource: Annotated[DesiredLRPResource, FLATTEN] = DesiredLRPResource()
    routes: Annotated[Mapping[str, bytes] | None, Json("routes", raw=True)] = None
    modification_tag: Annotated[ModificationTag, FLATTEN] = ModificationTag()
    volume_placement: Annotated[VolumePlacement | None, Json("volume_placement", omit=True)] = None
    placement_tags: Annotated[tuple[str, ...], Json("placement_tags", omit=True)] = ()
