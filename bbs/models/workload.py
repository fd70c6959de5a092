"""Parts of a desired workload: egress rules, dependencies, image layers, volume mounts, checks, sidecars."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from bbs.models.actions import Action
from bbs.models.meta import Int32, Json, UInt32, UInt64


class LayerType(IntEnum):
    """SHARED layers are cached and bind-mounted, EXCLUSIVE ones are downloaded into the container."""

    LayerTypeInvalid = 0
    SHARED = 1
    EXCLUSIVE = 2


class MediaType(IntEnum):
    """Archive format of an image layer."""

    MediaTypeInvalid = 0
    TGZ = 1
    TAR = 2
    ZIP = 3


class DigestAlgorithm(IntEnum):
    """Digest algorithm of an image layer; SHA512 is deprecated."""

    DigestAlgorithmInvalid = 0
    SHA256 = 1
    SHA512 = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupRule:
    """SecurityGroupRule."""

    protocol: Annotated[str, Json("protocol", omit=True)] = ""
    destinations: Annotated[tuple[str, ...], Json("destinations", omit=True)] = ()
    ports: Annotated[tuple[UInt32, ...], Json("ports", omit=True)] = ()
    port_range: Annotated[PortRange | None, Json("port_range", omit=True)] = None
    icmp_info: Annotated[ICMPInfo | None, Json("icmp_info", omit=True)] = None
    log: bool = False
    annotations: Annotated[tuple[str, ...], Json("annotations", omit=True)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """PortRange."""

    start: UInt32 = 0
    end: UInt32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ICMPInfo:
    """ICMPInfo."""

    type: Int32 = 0
    code: Int32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedDependency:
    """CachedDependency."""

    name: str = ""
    from_: Annotated[str, Json("from")] = ""
    to: str = ""
    cache_key: str = ""
    log_source: str = ""
    checksum_algorithm: Annotated[str, Json("checksum_algorithm", omit=True)] = ""
    checksum_value: Annotated[str, Json("checksum_value", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """ImageLayer."""

    name: Annotated[str, Json("name", omit=True)] = ""
    url: str = ""
    destination_path: str = ""
    layer_type: LayerType = LayerType(0)
    media_type: MediaType = MediaType(0)
    digest_algorithm: Annotated[DigestAlgorithm, Json("digest_algorithm", omit=True)] = DigestAlgorithm(0)
    digest_value: Annotated[str, Json("digest_value", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """numbers 2, 4, 5 reserved."""

    driver: str = ""
    container_dir: str = ""
    mode: str = ""
    shared: SharedDevice | None = None
    dedicated: DedicatedDevice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDevice:
    """SharedDevice."""

    volume_id: str = ""
    mount_config: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DedicatedDevice:
    """HEAD only."""

    mounter_id: str = ""
    mount_config: str = ""
    device_config: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePlacement:
    """VolumePlacement."""

    driver_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDefinition:
    """CheckDefinition."""

    checks: Annotated[tuple[Check, ...], Json("checks", omit=True)] = ()
    log_source: str = ""
    readiness_checks: Annotated[tuple[Check, ...], Json("readiness_checks", omit=True)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """exactly one of the two."""

    tcp_check: Annotated[TCPCheck | None, Json("tcp_check", omit=True)] = None
    http_check: Annotated[HTTPCheck | None, Json("http_check", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPCheck:
    """TCPCheck."""

    port: UInt32 = 0
    connect_timeout_ms: Annotated[UInt64, Json("connect_timeout_ms", omit=True)] = 0
    interval_ms: Annotated[UInt64, Json("interval_ms", omit=True)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPCheck:
    """HTTPCheck."""

    port: UInt32 = 0
    request_timeout_ms: Annotated[UInt64, Json("request_timeout_ms", omit=True)] = 0
    path: str = ""
    interval_ms: Annotated[UInt64, Json("interval_ms", omit=True)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """Sidecar."""

    action: Annotated[Action | None, Json("action", omit=True)] = None
    disk_mb: Int32 = 0
    memory_mb: Int32 = 0
