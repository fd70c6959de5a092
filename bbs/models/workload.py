"""Parts of a desired workload: egress rules, dependencies, image layers, volume mounts, checks, sidecars."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from bbs.models.actions import Action
from bbs.models.meta import Int32, Json, UInt32, UInt64


class LayerType(IntEnum):
    """SHARED layers are cached and bind-mounted; EXCLUSIVE layers are downloaded into the container."""

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
    """An external destination that a container may reach.

    protocol: ``tcp``, ``udp``, ``icmp``, ``icmpv6`` or ``all``.
    destinations: addresses, CIDRs, ``a-b`` ranges, or several of them separated by commas.
    ports, port_range: for tcp and udp.
    icmp_info: for icmp and icmpv6.
    log: log the connections that the rule allows.
    annotations: for people.
    """

    protocol: Annotated[str, Json("protocol", omit=True)] = ""
    destinations: Annotated[tuple[str, ...], Json("destinations", omit=True)] = ()
    ports: Annotated[tuple[UInt32, ...], Json("ports", omit=True)] = ()
    port_range: Annotated[PortRange | None, Json("port_range", omit=True)] = None
    icmp_info: Annotated[ICMPInfo | None, Json("icmp_info", omit=True)] = None
    log: bool = False
    annotations: Annotated[tuple[str, ...], Json("annotations", omit=True)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """Ports from start to end, both included."""

    start: UInt32 = 0
    end: UInt32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ICMPInfo:
    """ICMP type and code; -1 is any."""

    type: Int32 = 0
    code: Int32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedDependency:
    """An archive that is unpacked once per cell and mounted into containers, read-only.

    name: for log lines.
    from_: URL.
    to: path in the container.
    cache_key: identity of the archive in the cache.
    """

    name: str = ""
    from_: Annotated[str, Json("from")] = ""
    to: str = ""
    cache_key: str = ""
    log_source: str = ""
    checksum_algorithm: Annotated[str, Json("checksum_algorithm", omit=True)] = ""
    checksum_value: Annotated[str, Json("checksum_value", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """A part of the filesystem on top of the rootfs.

    digest_value: hex; requires digest_algorithm, and vice versa.
    """

    name: Annotated[str, Json("name", omit=True)] = ""
    url: str = ""
    destination_path: str = ""
    layer_type: LayerType = LayerType(0)
    media_type: MediaType = MediaType(0)
    digest_algorithm: Annotated[DigestAlgorithm, Json("digest_algorithm", omit=True)] = DigestAlgorithm(0)
    digest_value: Annotated[str, Json("digest_value", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume of a volume driver in the container, with at most one of the two devices.

    mode: ``r`` or ``rw``.
    """

    driver: str = ""
    container_dir: str = ""
    mode: str = ""
    shared: SharedDevice | None = None
    dedicated: DedicatedDevice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDevice:
    """A volume that any cell can mount.

    mount_config: JSON object as text, for the driver.
    """

    volume_id: str = ""
    mount_config: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DedicatedDevice:
    """A device that one cell mounts at a time.

    mount_config, device_config: JSON objects as text, for the driver.
    """

    mounter_id: str = ""
    mount_config: str = ""
    device_config: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePlacement:
    """Volume drivers that a cell must have."""

    driver_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDefinition:
    """Checks by the cell, as an alternative to a monitor action.

    checks: startup and liveness of the instance.
    readiness_checks: whether the instance accepts requests.
    log_source: tag of the checks' log lines.
    """

    checks: Annotated[tuple[Check, ...], Json("checks", omit=True)] = ()
    log_source: str = ""
    readiness_checks: Annotated[tuple[Check, ...], Json("readiness_checks", omit=True)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check, over either TCP or HTTP."""

    tcp_check: Annotated[TCPCheck | None, Json("tcp_check", omit=True)] = None
    http_check: Annotated[HTTPCheck | None, Json("http_check", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPCheck:
    """Passes if the port accepts a connection.

    connect_timeout_ms, interval_ms: milliseconds, 0 for the cell's default.
    """

    port: UInt32 = 0
    connect_timeout_ms: Annotated[UInt64, Json("connect_timeout_ms", omit=True)] = 0
    interval_ms: Annotated[UInt64, Json("interval_ms", omit=True)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPCheck:
    """Passes if a GET of the path answers 200.

    path: empty is ``/``.
    request_timeout_ms, interval_ms: milliseconds, 0 for the cell's default.
    """

    port: UInt32 = 0
    request_timeout_ms: Annotated[UInt64, Json("request_timeout_ms", omit=True)] = 0
    path: str = ""
    interval_ms: Annotated[UInt64, Json("interval_ms", omit=True)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A process beside the main one, in the same container.

    disk_mb, memory_mb: MiB.
    """

    action: Annotated[Action | None, Json("action", omit=True)] = None
    disk_mb: Int32 = 0
    memory_mb: Int32 = 0
