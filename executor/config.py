"""Configuration of the executor, with default values.

A setting that exists in ``rep.json`` has the same name here, plus a unit suffix: ``_s`` seconds, ``_bytes``
bytes, ``_mb`` MiB. The last section holds settings that only this project has: engine address, network, host
ports, state directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits

GIB = 1 << 30


class OnStop(Enum):
    """What a stop of the executor means for the containers.

    DESTROY: their processes are stopped. HAND_OVER: they keep running for the next agent process.
    """

    DESTROY = "destroy"
    HAND_OVER = "hand-over"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """Settings of one cell's executor.

    memory_mb, disk_mb: ``None`` means ``auto``, measured at start. Paths are host paths; an empty path
    disables the feature. ``post_setup_hook`` is an already split command line. Raises ValueError for invalid
    values.
    """

    # identity of the cell in app logs and metrics
    cell_id: str = ""
    zone: str = ""

    # capacity
    memory_mb: int | None = None
    disk_mb: int | None = None
    auto_disk_capacity_overhead_mb: int = 0
    max_containers: int = 250
    """Maximum of the engine. The cell advertises one less; the engine health check uses that slot."""

    # downloads
    cache_path: str = "/tmp/cache"
    max_cache_size_bytes: int = 10 * GIB
    temp_dir: str = "/tmp"
    max_concurrent_downloads: int = 5
    path_to_tls_cert: str = ""
    path_to_tls_key: str = ""
    path_to_tls_ca_cert: str = ""
    path_to_ca_certs_for_downloads: str = ""
    skip_cert_verify: bool = False

    # concurrency
    create_work_pool_size: int = 32
    delete_work_pool_size: int = 32
    read_work_pool_size: int = 64
    metrics_work_pool_size: int = 8
    healthcheck_work_pool_size: int = 64

    # container lifecycle
    reserved_expiration_time_s: float = 60.0
    container_reap_interval_s: float = 60.0
    container_owner_name: str = "executor"
    healthcheck_container_owner_name: str = "executor-health-check"
    container_max_cpu_shares: int = 1024
    set_cpu_weight: bool = False
    container_metrics_report_interval_s: float = 15.0
    graceful_shutdown_interval_s: float = 10.0
    post_setup_hook: tuple[str, ...] = ()
    post_setup_user: str = ""

    # app health checks
    healthy_monitoring_interval_s: float = 30.0
    unhealthy_monitoring_interval_s: float = 0.5
    declarative_healthcheck_path: str = ""
    declarative_healthcheck_default_timeout_s: float = 1.0
    enable_healthcheck_metrics: bool = False

    # container environment
    enable_unproxied_port_mappings: bool = True
    advertise_preference_for_instance_address: bool = False
    trusted_system_certificates_path: str = ""
    volume_mounted_files: str = ""
    volman_driver_paths: tuple[str, ...] = ()
    """Directories in which volume drivers register."""
    container_inode_limit: int = 200_000
    """Maximum number of files and directories in a container's writable layer; 0: no limit."""
    max_log_lines_per_second: int = 0

    # instance identity; disabled if the directory is empty
    instance_identity_cred_dir: str = ""
    instance_identity_ca_path: str = ""
    instance_identity_private_key_path: str = ""
    instance_identity_validity_period_s: float = 86400.0
    log_origin: str = "rep"
    """Value of the tag ``origin`` of app logs and app metrics."""
    app_metric_exclusion_filter: tuple[str, ...] = ()
    """App metrics that are not emitted."""

    # engine health check
    sidecar_root_fs: str = ""
    """Image of the probe container, in the engine's notation; empty: the check only pings the engine."""
    garden_healthcheck_interval_s: float = 600.0
    garden_healthcheck_timeout_s: float = 600.0
    garden_healthcheck_emission_interval_s: float = 30.0
    garden_healthcheck_command_retry_pause_s: float = 1.0
    garden_healthcheck_process_path: str = "/bin/sh"
    garden_healthcheck_process_args: tuple[str, ...] = ("-c", "ls > /tmp/test")
    garden_healthcheck_process_user: str = "root"
    garden_healthcheck_process_env: tuple[tuple[str, str], ...] = ()
    garden_healthcheck_process_dir: str = ""

    # settings of this project only
    state_dir: str = "/var/lib/diego-cell"
    on_stop: OnStop = OnStop.DESTROY
    orphan_grace_s: float = 60.0
    """Time until containers that the journal does not name are removed; 0: at once, before the start ends."""
    docker_host: str = "unix:///var/run/docker.sock"
    network_name: str = "diego-cell"
    network_subnet: str = "10.255.0.0/16"
    network_mtu: int = 0
    host_port_start: int = 61001
    host_port_count: int = 4534
    external_ip: str = ""
    """Address of the host for routers; empty: the source address of the default route."""
    nft_table: str = "diego_cell"
    instance_identity_key_type: str = "rsa"
    """``rsa`` (3072 bits) or ``ecdsa`` (P-256, generated almost instantly)."""
    instance_identity_keys_ready: int = 16
    """Number of private keys generated in advance."""
    volume_bind_paths: tuple[str, ...] = ()
    """Host directories, with their subtrees, that the built-in volume driver may mount; empty: no driver."""
    allow_privileged_containers: bool = False
    """Whether privileged containers are allowed; requests for one are refused otherwise."""
    container_no_new_privileges: bool = False
    """Whether setuid programs have no effect. Garden leaves them effective."""
    container_limits_interval_s: float = 2.0
    """Interval of the check of container limits."""
    archive_free_bytes: int = DEFAULT_LIMITS.free_bytes
    archive_ratio: int = DEFAULT_LIMITS.ratio
    archive_members: int = DEFAULT_LIMITS.members
    archive_depth: int = DEFAULT_LIMITS.depth
    """Bounds of an unpacked archive, see :class:`executor.cache.limits.ArchiveLimits`."""
    container_max_cpu_percent: float = 0.0
    """Hard CPU limit at CPU weight 100, in percent of one core; lower weights get proportionally less. 0: no
    limit."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.orphan_grace_s < 0:
            raise ValueError(f"orphan_grace_s must not be negative, but it is {self.orphan_grace_s}")
        if not self.garden_healthcheck_process_path:
            raise ValueError("garden_healthcheck_process_path must not be empty")
        if not self.garden_healthcheck_process_user:
            raise ValueError("garden_healthcheck_process_user must not be empty")
        if self.post_setup_hook and not self.post_setup_user:
            raise ValueError("post_setup_hook needs a post_setup_user")
        if bool(self.path_to_tls_cert) != bool(self.path_to_tls_key):
            raise ValueError("path_to_tls_cert and path_to_tls_key need each other")
        if self.instance_identity_key_type not in ("rsa", "ecdsa"):
            raise ValueError(
                f"instance_identity_key_type is rsa or ecdsa, not {self.instance_identity_key_type!r}"
            )
        if self.instance_identity_cred_dir and self.instance_identity_validity_period_s <= 0:
            raise ValueError("instance ID validity period needs to be set and positive")
        if self.max_containers < 2:
            raise ValueError(f"max_containers must be at least 2, not {self.max_containers}")
        if not 0 < self.host_port_start < self.host_port_start + self.host_port_count <= 65536:
            raise ValueError(
                f"host ports {self.host_port_start} + {self.host_port_count} do not fit below 65536"
            )

    @property
    def archive_limits(self) -> ArchiveLimits:
        """The bounds of an archive as one value."""
        return ArchiveLimits(
            free_bytes=self.archive_free_bytes,
            ratio=self.archive_ratio,
            members=self.archive_members,
            depth=self.archive_depth,
        )

    @property
    def work_dir(self) -> str:
        """Temporary directory, emptied at every start."""
        return f"{self.temp_dir}/executor-work"


_POSITIVE = (
    "instance_identity_keys_ready",
    "container_limits_interval_s",
    "archive_free_bytes",
    "archive_ratio",
    "archive_members",
    "archive_depth",
    "container_max_cpu_shares",
    "healthy_monitoring_interval_s",
    "unhealthy_monitoring_interval_s",
    "declarative_healthcheck_default_timeout_s",
    "garden_healthcheck_interval_s",
    "garden_healthcheck_timeout_s",
    "garden_healthcheck_emission_interval_s",
    "reserved_expiration_time_s",
    "container_reap_interval_s",
    "container_metrics_report_interval_s",
    "create_work_pool_size",
    "delete_work_pool_size",
    "read_work_pool_size",
    "metrics_work_pool_size",
    "healthcheck_work_pool_size",
)
