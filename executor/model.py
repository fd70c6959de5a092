"""Data types of the executor's interface: requests, containers, events, metrics.

A container is the container of an *instance* with its life cycle, not the engine's object. All values are
immutable; a change creates a new value. :mod:`executor.codec` stores a container across restarts, so every
integer in it has a width and every field but the guid has a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bbs.models.actions import Action
from bbs.models.common import CertificateProperties, File, Network
from bbs.models.meta import Int64
from bbs.models.workload import CachedDependency, CheckDefinition, SecurityGroupRule, Sidecar


class ContainerState(Enum):
    """State of a container; ``executor.containers.machine`` defines the allowed moves."""

    RESERVED = "reserved"
    INITIALIZING = "initializing"
    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"


class EventKind(Enum):
    """The kinds of container events."""

    RESERVED = "container_reserved"
    RUNNING = "container_running"
    COMPLETE = "container_complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Resources of a cell; memory and disk in MiB."""

    memory_mb: int
    disk_mb: int
    containers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The result of a completed container.

    retryable: the control plane may place the task again. stopped: a stop was requested. unused: the
    reservation expired without a run request.
    """

    failed: bool = False
    failure_reason: str = ""
    retryable: bool = False
    stopped: bool = False
    unused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """One mapped port; 0 means none."""

    container_port: Int64
    host_port: Int64 = 0
    container_tls_proxy_port: Int64 = 0
    host_tls_proxy_port: Int64 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Log configuration. An empty guid drops the output of steps."""

    guid: str = ""
    index: Int64 = 0
    source_name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Labels of the container's metrics."""

    guid: str = ""
    index: Int64 = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """One volume: driver, id, mount path and driver options."""

    driver: str
    volume_id: str
    container_dir: str
    read_only: bool
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Parameters to run a reserved container.

    env: ordered (name, value) pairs; a later pair overrides an earlier one.
    log_rate_limit_bytes_per_second: -1 unlimited, 0 logs nothing.
    start_timeout_ms: time limit to become healthy; 0: none.
    """

    root_fs: str = ""
    cpu_weight: Int64 = 0
    ports: tuple[Int64, ...] = ()
    internal_routes: tuple[str, ...] = ()
    log_config: LogConfig = LogConfig()
    metrics_config: MetricsConfig = MetricsConfig()
    start_timeout_ms: Int64 = 0
    privileged: bool = False
    cached_dependencies: tuple[CachedDependency, ...] = ()
    setup: Action | None = None
    action: Action | None = None
    monitor: Action | None = None
    check_definition: CheckDefinition | None = None
    egress_rules: tuple[SecurityGroupRule, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    trusted_system_certificates_path: str = ""
    volume_mounts: tuple[VolumeMount, ...] = ()
    network: Network | None = None
    certificate_properties: CertificateProperties = CertificateProperties()
    image_username: str = ""
    image_password: str = ""
    sidecars: tuple[Sidecar, ...] = ()
    log_rate_limit_bytes_per_second: Int64 = -1
    volume_mounted_files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRequest:
    """A reservation. Memory and disk in MiB; 0 reserves nothing and means unlimited."""

    guid: str
    memory_mb: Int64 = 0
    disk_mb: Int64 = 0
    max_pids: Int64 = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationFailure:
    """A refused reservation and its reason."""

    request: AllocationRequest
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Request to run the reservation ``guid``; its tags are merged into the tags of the reservation."""

    guid: str
    run_info: RunInfo
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """Update of a container; None keeps the current value."""

    guid: str
    internal_routes: tuple[str, ...] | None = None
    metric_tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """State and properties of a container.

    allocated_at: ns since the epoch. memory_limit, disk_limit: bytes, as set in the engine. external_ip: the
    host's address. internal_ip: the container's address.
    """

    guid: str
    state: ContainerState = ContainerState.RESERVED
    memory_mb: Int64 = 0
    disk_mb: Int64 = 0
    max_pids: Int64 = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    run_info: RunInfo = RunInfo()
    routable: bool = False
    allocated_at: Int64 = 0
    external_ip: str = ""
    internal_ip: str = ""
    ports: tuple[PortMapping, ...] = ()
    memory_limit: Int64 = 0
    disk_limit: Int64 = 0
    run_result: RunResult = RunResult()
    advertise_preference_for_instance_address: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """Container event: its kind, the container's current state, the trace id of the causing request."""

    kind: EventKind
    container: Container
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerMetrics:
    """One reading. Sizes in bytes, times in ns; None if a reading is unavailable."""

    memory_usage: int = 0
    memory_limit: int = 0
    disk_usage: int = 0
    disk_limit: int = 0
    cpu_time_ns: int = 0
    age_ns: int = 0
    cpu_entitlement_ns: int = 0
    cpu_percentage: float = 0.0
    rx_bytes: int | None = None
    tx_bytes: int | None = None
