"""Keys of ``rep.json`` for the executor: containers, checks, downloads, credentials.

The text below a key says what it does, for the reference (`cell.assembly.configreference`).
"""

from __future__ import annotations

from dataclasses import dataclass

from bbs.models.meta import Int64, UInt64
from rep.config.values import Duration, go_duration


@dataclass(frozen=True, kw_only=True)
class ExecutorKeys:
    """Containers, checks, downloads, credentials. memory_mb, disk_mb: ``auto`` or a number, as text."""

    memory_mb: str = "auto"
    """Memory for containers, MiB, as text. `auto`: that of the machine."""
    disk_mb: str = "auto"
    """Disk for containers, MiB, as text. `auto`: the file system of the engine, less the download cache."""
    auto_disk_capacity_overhead_mb: Int64 = 0
    """MiB that `auto` leaves free."""
    use_schedulable_disk_size: bool = False
    """Which figure `auto` uses."""
    max_cache_size_in_bytes: UInt64 = 10 << 30
    """Size of the download cache, bytes."""
    cache_path: str = "/tmp/cache"
    """Directory of the download cache. It survives restarts."""
    temp_dir: str = "/tmp"
    """Directory of temporary files. Its folder `executor-work` is emptied at a start."""
    max_concurrent_downloads: UInt64 = 5
    """Concurrent downloads; 0 blocks all."""
    create_work_pool_size: Int64 = 32
    """Concurrent creations of containers."""
    delete_work_pool_size: Int64 = 32
    """Concurrent deletions of containers."""
    read_work_pool_size: Int64 = 64
    """Concurrent reads of files in containers."""
    metrics_work_pool_size: Int64 = 8
    """Concurrent readings of container metrics."""
    healthcheck_work_pool_size: Int64 = 64
    """Concurrent health checks."""
    reserved_expiration_time: Duration = go_duration("1m")
    """Lifetime of a reservation without a container."""
    container_reap_interval: Duration = go_duration("1m")
    """Interval at which the cell compares its containers with those of the engine."""
    container_owner_name: str = "executor"
    """Mark of the cell's containers in the engine."""
    healthcheck_container_owner_name: str = "executor-health-check"
    """Mark of check containers in the engine."""
    container_inode_limit: UInt64 = 200000
    """Most files and directories that an instance may create; 0: no limit."""
    container_max_cpu_shares: UInt64 = 1024
    """CPU shares of CPU weight 100."""
    set_cpu_weight: bool = False
    """CPU shares are the memory in MiB, instead of following the CPU weight."""
    container_metrics_report_interval: Duration = go_duration("15s")
    """Interval of the container metrics."""
    healthy_monitoring_interval: Duration = go_duration("30s")
    """Interval of checks of an instance that is healthy, unless it sets its own."""
    unhealthy_monitoring_interval: Duration = go_duration("500ms")
    """Interval of checks until an instance is healthy."""
    graceful_shutdown_interval: Duration = go_duration("10s")
    """Time between SIGTERM and SIGKILL for an instance's processes."""
    declarative_healthcheck_path: str = ""
    """Host directory with the program `healthcheck`, mounted into containers for the checks of apps."""
    declarative_healthcheck_default_timeout: Duration = go_duration("1s")
    """Time limit of a check that sets none."""
    enable_healthcheck_metrics: bool = False
    """Count failed liveness checks."""
    enable_container_proxy: bool = False
    """Add `proxy_memory_allocation_mb` to instances."""
    enable_container_proxy_healthcheck: bool = False
    """Check proxies."""
    proxy_healthcheck_interval: Duration = go_duration("30s")
    """Interval of the checks of proxies."""
    proxy_memory_allocation_mb: Int64 = 32
    """Memory of a proxy, MiB."""
    proxy_enable_http2: bool = True
    """HTTP/2 through proxies."""
    container_proxy_path: str = ""
    """Directory of the proxy's program."""
    container_proxy_config_path: str = ""
    """Directory of the proxies' configurations."""
    container_proxy_trusted_ca_certs: tuple[str, ...] = ()
    """CAs of the clients of proxies, PEM."""
    container_proxy_verify_subject_alt_name: tuple[str, ...] = ()
    """Names that clients of proxies must have."""
    container_proxy_require_and_verify_client_certs: bool = False
    """Mutual TLS at proxies."""
    container_proxy_ads_addresses: tuple[str, ...] = ()
    """Discovery servers of proxies."""
    enable_unproxied_port_mappings: bool = True
    """Map ports of instances to host ports."""
    advertise_preference_for_instance_address: bool = False
    """Tell routers to prefer the address of the container to that of the host."""
    envoy_config_reload_duration: Duration = go_duration("5s")
    """Pause at the stop of an instance in which routers forget it."""
    envoy_drain_timeout: Duration = go_duration("15m")
    """Time in which a proxy closes connections."""
    instance_identity_cred_dir: str = ""
    """Directory of the instances' credentials. Empty: instances have none."""
    instance_identity_ca_path: str = ""
    """CA certificate that signs the instances' credentials, PEM."""
    instance_identity_private_key_path: str = ""
    """Private key of `instance_identity_ca_path`, PEM."""
    instance_identity_validity_period: Duration = go_duration("24h")
    """Validity of an instance's certificate. It is renewed before."""
    trusted_system_certificates_path: str = ""
    """Host directory with CA files, mounted into containers at `/etc/cf-system-certificates`."""
    volume_mounted_files: str = ""
    """Host directory of the files with service bindings."""
    volman_driver_paths: str = ""
    """Directories with the specifications of volume drivers, separated by colons."""
    path_to_tls_cert: str = ""
    """Client certificate for downloads and uploads, PEM."""
    path_to_tls_key: str = ""
    """Private key of `path_to_tls_cert`, PEM."""
    path_to_tls_ca_cert: str = ""
    """Additional CA for downloads and uploads, PEM."""
    path_to_ca_certs_for_downloads: str = ""
    """Another additional CA for downloads and uploads, PEM."""
    skip_cert_verify: bool = False
    """Do not verify the servers of downloads and uploads."""
    max_log_lines_per_second: Int64 = 0
    """Log lines per second of an instance; further lines are dropped. 0: no limit."""
    post_setup_hook: str = ""
    """Command that runs in a container after its setup."""
    post_setup_user: str = ""
    """User of `post_setup_hook`."""
    garden_network: str = ""
    """Network of Go's container engine."""
    garden_addr: str = ""
    """Address of Go's container engine."""
    garden_healthcheck_interval: Duration = go_duration("10m")
    """Interval of the engine's check, which creates a container, runs a process in it and removes it."""
    garden_healthcheck_timeout: Duration = go_duration("10m")
    """Time limit of a check. If the first one does not pass in this time, the cell exits."""
    garden_healthcheck_emission_interval: Duration = go_duration("30s")
    """Interval of the metric about the check."""
    garden_healthcheck_command_retry_pause: Duration = go_duration("1s")
    """Pause before a failed call of a check is repeated."""
    garden_healthcheck_process_path: str = "/bin/sh"
    """Program of the check."""
    garden_healthcheck_process_args: tuple[str, ...] = ("-c", "ls > /tmp/test")
    """Arguments of the check's program."""
    garden_healthcheck_process_user: str = "root"
    """User of the check's program."""
    garden_healthcheck_process_env: tuple[str, ...] = ()
    """Variables of the check's program, each `NAME=value`."""
    garden_healthcheck_process_dir: str = ""
    """Working directory of the check's program. Empty: `/`."""
