"""Validation of the common parts of LRPs and Tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bbs.models.common import SOURCE_ID, EnvironmentVariable, LogRateLimit, MetricTagValue
from bbs.models.validation.actions import checksum, required_action
from bbs.models.validation.egress import validate_security_group_rule
from bbs.models.validation.fields import invalid_field, not_negative, required
from bbs.models.workload import (
    CachedDependency,
    Check,
    CheckDefinition,
    DigestAlgorithm,
    ImageLayer,
    LayerType,
    SecurityGroupRule,
    Sidecar,
    VolumeMount,
)

MAX_PORT = 65535


def validate_cached_dependency(dependency: CachedDependency) -> list[str]:
    """Source and target are required; the checksum rules are those of a download."""
    return [
        *required(dependency.from_, "from"),
        *required(dependency.to, "to"),
        *checksum(dependency.checksum_algorithm, dependency.checksum_value),
    ]


def validate_image_layer(layer: ImageLayer) -> list[str]:
    """Errors of one layer. EXCLUSIVE layers require a digest; SHA512 is not accepted."""
    errors = [
        *required(layer.url, "url"),
        *required(layer.destination_path, "destination_path"),
        *required(layer.layer_type, "layer_type"),
        *required(layer.media_type, "media_type"),
    ]
    if layer.layer_type is LayerType.EXCLUSIVE or layer.digest_algorithm or layer.digest_value:
        if layer.digest_algorithm is not DigestAlgorithm.SHA256:
            errors.append(invalid_field("digest_algorithm"))
        errors += required(layer.digest_value, "digest_value")
    return errors


def validate_volume_mount(mount: VolumeMount) -> list[str]:
    """Driver, mode and the id of the device."""
    errors = []
    if not mount.driver:
        errors.append("invalid volume_mount driver")
    if mount.mode not in ("r", "rw"):
        errors.append("invalid volume_mount mode")
    if mount.shared is not None and not mount.shared.volume_id:
        errors.append("invalid volume_mount volume id")
    if mount.dedicated is not None and not mount.dedicated.mounter_id:
        errors.append("invalid volume_mount mounter id")
    return errors


def validate_check_definition(definition: CheckDefinition) -> list[str]:
    """Liveness checks, then readiness checks."""
    return [text for one in (*definition.checks, *definition.readiness_checks) for text in _check(one)]


def _check(one: Check) -> list[str]:
    if one.tcp_check is not None and one.http_check is not None:
        return [invalid_field("check")]
    kind = one.tcp_check or one.http_check
    return [] if kind is not None and 0 < kind.port <= MAX_PORT else [invalid_field("port")]


def validate_sidecar(sidecar: Sidecar) -> list[str]:
    """Action, memory and disk."""
    return required_action(sidecar.action) + not_negative(
        memory_mb=sidecar.memory_mb, disk_mb=sidecar.disk_mb
    )


def validate_environment_variable(variable: EnvironmentVariable) -> list[str]:
    """The name is required."""
    return [] if variable.name else ["invalid field: name cannot be blank"]


def log_rate_limit(limit: LogRateLimit | None) -> list[str]:
    """-1 is unlimited; lower values are invalid."""
    return [invalid_field("log_rate_limit")] if limit is not None and limit.bytes_per_second < -1 else []


def metric_tags(tags: Mapping[str, MetricTagValue], metrics_guid: str = "") -> list[str]:
    """Each tag is either static or dynamic; ``source_id`` must match the metrics guid, if given."""
    errors = []
    for tag in tags.values():
        if bool(tag.static) == bool(tag.dynamic):
            errors += [invalid_field("static"), invalid_field("dynamic")]
    if metrics_guid and tags.get(SOURCE_ID, MetricTagValue()).static != metrics_guid:
        errors.append(invalid_field("source_id should match metrics_guid"))
    return [invalid_field("metric_tags"), *errors] if errors else []


def egress_rules(rules: Iterable[SecurityGroupRule]) -> list[str]:
    """Invalid rules with their errors."""
    return [
        text
        for rule in rules
        if (errors := validate_security_group_rule(rule))
        for text in (invalid_field("egress_rules"), *errors)
    ]


def cached_dependencies(dependencies: Iterable[CachedDependency]) -> list[str]:
    """Invalid dependencies with their errors."""
    return [
        text
        for dependency in dependencies
        if (errors := validate_cached_dependency(dependency))
        for text in (invalid_field("cached_dependency"), *errors)
    ]


def image_layers(layers: Sequence[ImageLayer], legacy_download_user: str) -> list[str]:
    """Invalid layers with their errors; EXCLUSIVE layers also require a download user."""
    errors = [
        text
        for layer in layers
        if (wrong := validate_image_layer(layer))
        for text in (invalid_field("image_layer"), *wrong)
    ]
    if not legacy_download_user and any(layer.layer_type is LayerType.EXCLUSIVE for layer in layers):
        errors.append(invalid_field("legacy_download_user"))
    return errors


def sidecars(all_sidecars: Iterable[Sidecar]) -> list[str]:
    """Invalid sidecars with their errors."""
    return [
        text
        for sidecar in all_sidecars
        if (errors := validate_sidecar(sidecar))
        for text in (invalid_field("sidecars"), *errors)
    ]
