"""Common parts of the recipes: environment, tags, network properties."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bbs.models.actions import ResourceLimits
from bbs.models.common import (
    CertificateProperties,
    DynamicValue,
    EnvironmentVariable,
    LogRateLimit,
    MetricTagValue,
    Network,
)
from bbs.models.workload import CachedDependency, DigestAlgorithm, ImageLayer, LayerType
from cell.apps.recipes.values import FILE_DESCRIPTORS, LIFECYCLE_DIR, App, Asset, Process

UNLIMITED_LOGS = LogRateLimit(bytes_per_second=-1)
LIMITS = ResourceLimits(nofile=FILE_DESCRIPTORS)
LANG = (EnvironmentVariable(name="LANG", value="en_US.UTF-8"),)
MIN_WEIGHED_MB, MAX_WEIGHED_MB = 128, 8192


def variables(values: Mapping[str, str]) -> tuple[EnvironmentVariable, ...]:
    """In the order of the mapping."""
    return tuple(EnvironmentVariable(name=name, value=value) for name, value in values.items())


def vcap_application(app: App, process: Process | None = None) -> str:
    """``VCAP_APPLICATION`` of an app; launchers add the data of the instance."""
    fields: dict[str, object] = {
        "cf_api": app.api_url,
        "limits": {"fds": FILE_DESCRIPTORS, "mem": app.memory_mb, "disk": app.disk_mb},
        "application_name": app.name,
        "application_uris": app.uris,
        "name": app.name,
        "space_name": app.space_name,
        "space_id": app.space_id,
        "organization_id": app.organization_id,
        "organization_name": app.organization_name,
        "uris": app.uris,
        "application_id": app.guid,
    }
    if process is not None:
        fields |= {
            "process_id": app.guid,
            "process_type": process.type,
            "version": process.version,
            "application_version": process.version,
        }
    return json.dumps(fields, separators=(",", ":"))


def app_environment(app: App, memory_mb: int, process: Process | None = None) -> dict[str, str]:
    """Environment of both staging and running. memory_mb: the limit reported to the process."""
    return {
        **app.env,
        "VCAP_APPLICATION": vcap_application(app, process),
        "MEMORY_LIMIT": f"{memory_mb}m",
        "VCAP_SERVICES": "{}",
    }


def cpu_weight(memory_mb: int) -> int:
    """The CPU weight of an instance, by its memory."""
    return 100 * min(max(memory_mb, MIN_WEIGHED_MB), MAX_WEIGHED_MB) // MAX_WEIGHED_MB


def metric_tags(app: App) -> dict[str, MetricTagValue]:
    """Tags of all work of an app."""
    texts = {
        "source_id": app.guid,
        "app_id": app.guid,
        "app_name": app.name,
        "space_id": app.space_id,
        "space_name": app.space_name,
        "organization_id": app.organization_id,
        "organization_name": app.organization_name,
    }
    return {name: MetricTagValue(static=text) for name, text in texts.items()}


def process_tags(process: Process) -> dict[str, MetricTagValue]:
    """Tags of a process: those of its app, and the instance."""
    return {
        **metric_tags(process.app),
        "process_id": MetricTagValue(static=process.app.guid),
        "process_type": MetricTagValue(static=process.type),
        "process_instance_id": MetricTagValue(dynamic=DynamicValue.INSTANCE_GUID),
        "instance_id": MetricTagValue(dynamic=DynamicValue.INDEX),
    }


def network(app: App, ports: tuple[int, ...], workload: str) -> Network:
    """workload: ``app`` or ``staging``."""
    return Network(
        properties={
            "policy_group_id": app.guid,
            "app_id": app.guid,
            "space_id": app.space_id,
            "org_id": app.organization_id,
            "ports": ",".join(map(str, ports)),
            "container_workload": workload,
        }
    )


def certificate_properties(app: App) -> CertificateProperties:
    return CertificateProperties(
        organizational_unit=(
            f"organization:{app.organization_id}",
            f"space:{app.space_id}",
            f"app:{app.guid}",
        )
    )


def lifecycle_dependency(url: str, cache_key: str) -> CachedDependency:
    """The bundle of in-container programs as a mounted dependency."""
    return CachedDependency(from_=url, to=LIFECYCLE_DIR, cache_key=cache_key)


def lifecycle_layer(url: str, name: str) -> ImageLayer:
    """The bundle as a layer."""
    return shared_layer(name, Asset(url=url), LIFECYCLE_DIR)


def shared_layer(name: str, asset: Asset, path: str) -> ImageLayer:
    """A layer shared by all containers of a cell, mounted."""
    return _layer(name, asset, path, LayerType.SHARED)


def exclusive_layer(name: str, asset: Asset, path: str) -> ImageLayer:
    """A layer of one container. The asset's digest must be known."""
    return _layer(name, asset, path, LayerType.EXCLUSIVE)


def _layer(name: str, asset: Asset, path: str, kind: LayerType) -> ImageLayer:
    known = DigestAlgorithm.SHA256 if asset.sha256 else DigestAlgorithm.DigestAlgorithmInvalid
    return ImageLayer(
        name=name,
        url=asset.url,
        destination_path=path,
        layer_type=kind,
        media_type=asset.media,
        digest_algorithm=known,
        digest_value=asset.sha256,
    )


def buildpack_lifecycle_key(stack: str) -> str:
    """The cache key of the bundle for a stack."""
    return f"buildpack-{stack}-lifecycle"


DOCKER_LIFECYCLE_KEY = "docker-lifecycle"
