"""All keys of ``rep.json``: names, types, defaults.

The field names are the key names. Durations are nanoseconds here and Go texts (``"30s"``) in the file.
The defaults are those of the last release that had built-in ones. Required keys have no default;
``rep.config.validate`` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from types import MappingProxyType
from typing import NewType

from bbs.models.meta import Int64, UInt64
from common.gotext import parse_duration
from executor.cache.limits import DEFAULT_LIMITS
from executor.engine.spools import CELL_BYTES, STREAM_BYTES
from executor.network.config import CONNECTION_LIMIT

Duration = NewType("Duration", int)
"""Nanoseconds."""


def seconds(duration: Duration) -> float:
    """The duration in seconds, for asyncio."""
    return duration / 1e9


def _go_duration(text: str) -> Duration:
    return Duration(parse_duration(text))


class Source(Enum):
    """The origin of an effective value."""

    FILE = "file"
    DEFAULT = "default"
    FLAG = "flag"


@dataclass(frozen=True, kw_only=True)
class RepKeys:
    """Identity, addresses, the control plane, stacks."""

    cell_id: str = ""
    cell_index: Int64 = 0
    zone: str = ""
    listen_addr: str = "127.0.0.1:1800"
    listen_addr_securable: str = "0.0.0.0:1801"
    """127.0.0.1:1801 without certificates."""
    advertise_domain: str = "cell.service.cf.internal"
    ca_cert_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    bbs_address: str = ""
    bbs_client_session_cache_size: Int64 = 0
    bbs_max_idle_conns_per_host: Int64 = 0
    communication_timeout: Duration = _go_duration("10s")
    polling_interval: Duration = _go_duration("30s")
    evacuation_polling_interval: Duration = _go_duration("10s")
    evacuation_timeout: Duration = _go_duration("10m")
    lock_ttl: Duration = _go_duration("15s")
    lock_retry_interval: Duration = _go_duration("5s")
    """Accepted and ignored: the presence is renewed every 5 s."""
    report_interval: Duration = _go_duration("1m")
    session_name: str = "rep"
    placement_tags: tuple[str, ...] = ()
    optional_placement_tags: tuple[str, ...] = ()
    preloaded_root_fs: tuple[str, ...] = ()
    supported_providers: tuple[str, ...] = ("docker",)
    extra_root_fs_dir: str = ""
    sidecar_root_fs_path: str = ""
    sidecar_root_fs: str = ""
    layering_mode: str = "single-layer"


@dataclass(frozen=True, kw_only=True)
class ExecutorKeys:
    """Containers, checks, downloads, credentials. memory_mb, disk_mb: ``auto`` or a number, as text."""

    memory_mb: str = "auto"
    disk_mb: str = "auto"
    auto_disk_capacity_overhead_mb: Int64 = 0
    use_schedulable_disk_size: bool = False
    max_cache_size_in_bytes: UInt64 = 10 << 30
    cache_path: str = "/tmp/cache"
    temp_dir: str = "/tmp"
    max_concurrent_downloads: UInt64 = 5
    create_work_pool_size: Int64 = 32
    delete_work_pool_size: Int64 = 32
    read_work_pool_size: Int64 = 64
    metrics_work_pool_size: Int64 = 8
    healthcheck_work_pool_size: Int64 = 64
    reserved_expiration_time: Duration = _go_duration("1m")
    container_reap_interval: Duration = _go_duration("1m")
    container_owner_name: str = "executor"
    healthcheck_container_owner_name: str = "executor-health-check"
    container_inode_limit: UInt64 = 200000
    container_max_cpu_shares: UInt64 = 1024
    set_cpu_weight: bool = False
    container_metrics_report_interval: Duration = _go_duration("15s")
    healthy_monitoring_interval: Duration = _go_duration("30s")
    unhealthy_monitoring_interval: Duration = _go_duration("500ms")
    graceful_shutdown_interval: Duration = _go_duration("10s")
    declarative_healthcheck_path: str = ""
    declarative_healthcheck_default_timeout: Duration = _go_duration("1s")
    enable_healthcheck_metrics: bool = False
    enable_container_proxy: bool = False
    enable_container_proxy_healthcheck: bool = False
    proxy_healthcheck_interval: Duration = _go_duration("30s")
    proxy_memory_allocation_mb: Int64 = 32
    proxy_enable_http2: bool = True
    container_proxy_path: str = ""
    container_proxy_config_path: str = ""
    container_proxy_trusted_ca_certs: tuple[str, ...] = ()
    container_proxy_verify_subject_alt_name: tuple[str, ...] = ()
    container_proxy_require_and_verify_client_certs: bool = False
    container_proxy_ads_addresses: tuple[str, ...] = ()
    enable_unproxied_port_mappings: bool = True
    advertise_preference_for_instance_address: bool = False
    envoy_config_reload_duration: Duration = _go_duration("5s")
    envoy_drain_timeout: Duration = _go_duration("15m")
    instance_identity_cred_dir: str = ""
    instance_identity_ca_path: str = ""
    instance_identity_private_key_path: str = ""
    instance_identity_validity_period: Duration = _go_duration("24h")
    trusted_system_certificates_path: str = ""
    volume_mounted_files: str = ""
    volman_driver_paths: str = ""
    path_to_tls_cert: str = ""
    path_to_tls_key: str = ""
    path_to_tls_ca_cert: str = ""
    path_to_ca_certs_for_downloads: str = ""
    skip_cert_verify: bool = False
    max_log_lines_per_second: Int64 = 0
    post_setup_hook: str = ""
    post_setup_user: str = ""
    garden_network: str = ""
    garden_addr: str = ""
    garden_healthcheck_interval: Duration = _go_duration("10m")
    garden_healthcheck_timeout: Duration = _go_duration("10m")
    garden_healthcheck_emission_interval: Duration = _go_duration("30s")
    garden_healthcheck_command_retry_pause: Duration = _go_duration("1s")
    garden_healthcheck_process_path: str = "/bin/sh"
    garden_healthcheck_process_args: tuple[str, ...] = ("-c", "ls > /tmp/test")
    garden_healthcheck_process_user: str = "root"
    garden_healthcheck_process_env: tuple[str, ...] = ()
    garden_healthcheck_process_dir: str = ""


@dataclass(frozen=True, kw_only=True)
class PlatformKeys:
    """Locket, the component's own log, the debug server. Keepalive times are whole seconds."""

    locket_address: str = ""
    locket_ca_cert_file: str = ""
    locket_client_cert_file: str = ""
    locket_client_key_file: str = ""
    locket_client_keepalive_time: Int64 = 10
    locket_client_keepalive_timeout: Int64 = 22
    log_level: str = "info"
    time_format: str = "unix-epoch"
    redact_secrets: bool = False
    redact_patterns: tuple[str, ...] = ()
    max_data_string_length: Int64 = 640
    debug_address: str = ""


@dataclass(frozen=True, kw_only=True)
class OwnKeys:
    """Keys that the Go program does not have.

    =============================  ===================================================================
    rep_url                        URL to register instead of ``https://<cell>.<advertise_domain>:<port>``
    docker_host                    address of the container engine
    on_stop                        what SIGTERM and SIGINT do: ``hand-over`` leaves the containers to the
                                   next process of the cell, ``evacuate`` replaces them on other cells
                                   first, ``destroy`` ends them, as the Go program does
    orphan_grace_period            time from a start until containers that the cell does not know are removed;
                                   0: at once
    state_dir                      folder of the data that must survive a restart of the cell
    network_name                   host interface of the container network, at most 15 characters
    network_subnet                 addresses of the containers
    network_subnet_ipv6            their IPv6 addresses; empty: derived from name and subnet
                                   (``fd...::/64``) if the host has IPv6; ``none``: no IPv6
    network_mtu                    their packet size; 0: that of the default route's interface
    dns_servers                    their name servers; empty: those of the host
    denied_networks                CIDR addresses that an app reaches only if its egress rules allow them;
                                   always include the host and a cloud's metadata address, and all of
                                   IPv6 if some are named and none of IPv6
    allowed_networks               exceptions from denied_networks for all apps
    container_bandwidth_...        _in, _out: bytes per second of each container; 0: no limit
    container_connection_limit     concurrent connections of a container, per IP version, as counted by
                                   the kernel's connection tracking; 0: no limit
    host_port_start, _count        host ports for containers
    container_max_count            containers of the engine; one less is published
    external_ip                    address of this host for routers; empty: that of the default route
    nft_table                      name of the nftables table
    instance_identity_...          _key_type: ``rsa`` (3072 bits) or ``ecdsa`` (P-256);
                                   _keys_ready: keys generated ahead
    volume_bind_paths              host directories for mounts with the built-in volume driver ``bind``
    allow_privileged_containers    whether privileged containers run
    container_no_new_privileges    whether setuid programs lose their effect in containers
    container_limits_interval      interval of the checks for limits that containers reached
    archive_...                    limits of one unpacked download, in the cache and in containers:
                                   _free_bytes, always allowed; _ratio, beyond that, bytes per downloaded
                                   byte; _members, files and directories; _depth, nested directories
    container_max_cpu_percent      hard limit for CPU weight 100, 100 being one core; 0: none
    log_sinks                      targets of app logs next to loggregator, see ``executor.logs.targets``:
                                   ``stdout``, ``journald``, ``syslog+tcp://host:601``, ``file:/path``
                                   ...; empty without loggregator: stderr
    log_spool_...                  output kept on disk until the targets have it: _stream_bytes, of one
                                   stream of a process; _bytes, of the cell
    =============================  ===================================================================
    """

    rep_url: str = ""
    on_stop: str = "hand-over"
    orphan_grace_period: Duration = _go_duration("1m")
    docker_host: str = "unix:///var/run/docker.sock"
    state_dir: str = "/var/lib/diego-cell"
    network_name: str = "diego-cell"
    network_subnet: str = "10.255.0.0/16"
    network_subnet_ipv6: str = ""
    network_mtu: Int64 = 0
    dns_servers: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    container_bandwidth_in: Int64 = 0
    container_bandwidth_out: Int64 = 0
    container_connection_limit: UInt64 = CONNECTION_LIMIT
    host_port_start: Int64 = 61001
    host_port_count: Int64 = 4534
    container_max_count: Int64 = 250
    external_ip: str = ""
    nft_table: str = "diego_cell"
    instance_identity_key_type: str = "rsa"
    instance_identity_keys_ready: Int64 = 16
    volume_bind_paths: tuple[str, ...] = ()
    allow_privileged_containers: bool = False
    container_no_new_privileges: bool = False
    container_limits_interval: Duration = _go_duration("2s")
    archive_free_bytes: UInt64 = DEFAULT_LIMITS.free_bytes
    archive_ratio: UInt64 = DEFAULT_LIMITS.ratio
    archive_members: UInt64 = DEFAULT_LIMITS.members
    archive_depth: UInt64 = DEFAULT_LIMITS.depth
    container_max_cpu_percent: Int64 = 0
    log_sinks: tuple[str, ...] = ()
    log_spool_stream_bytes: UInt64 = STREAM_BYTES
    log_spool_bytes: UInt64 = CELL_BYTES


@dataclass(frozen=True, kw_only=True)
class Loggregator:
    """The ``loggregator`` object: the destination of logs and metrics."""

    loggregator_api_host: str = "127.0.0.1"
    loggregator_api_port: Int64 = 3458
    loggregator_ca_path: str = ""
    loggregator_cert_path: str = ""
    loggregator_key_path: str = ""
    loggregator_job_deployment: str = ""
    loggregator_job_name: str = ""
    loggregator_job_index: str = ""
    loggregator_job_ip: str = ""
    loggregator_job_origin: str = "rep"
    loggregator_source_id: str = "rep"
    loggregator_instance_id: str = ""
    loggregator_batch_max_size: UInt64 = 100
    loggregator_app_metric_exclusion_filter: tuple[str, ...] = ()
    loggregator_use_v2_api: bool = False
    BatchFlushInterval: Int64 = 100_000_000
    """Nanoseconds; the key has this spelling."""

    @property
    def enabled(self) -> bool:
        """Whether the client identity is complete; logs are sent only with one."""
        return bool(self.loggregator_ca_path and self.loggregator_cert_path and self.loggregator_key_path)


@dataclass(frozen=True, kw_only=True)
class RepConfig(RepKeys, ExecutorKeys, PlatformKeys, OwnKeys):
    """All of ``rep.json``.

    sources: origin of each value, by key; those of ``loggregator`` as ``loggregator.<key>``.
    warnings: texts about questionable but harmless values.
    """

    loggregator: Loggregator = Loggregator()
    sources: Mapping[str, Source] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def proxy_allocation_mb(self) -> int:
        """Additional memory of every proxied LRP, MiB."""
        return self.proxy_memory_allocation_mb if self.enable_container_proxy else 0

    @property
    def development(self) -> bool:
        """The control plane has no TLS; the cell may run without TLS too."""
        return self.bbs_address.startswith("http://")

    @property
    def plain(self) -> bool:
        """The rep serves without TLS. Clients are not authenticated, so it listens on loopback only."""
        return self.development and not (self.ca_cert_file or self.cert_file or self.key_file)

    def effective(self) -> list[tuple[str, object, Source]]:
        """Every key with its value and its origin, in the order of this module."""
        rows: list[tuple[str, object, Source]] = []
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Loggregator):
                for inner in fields(value):
                    key = f"loggregator.{inner.name}"
                    rows.append((key, getattr(value, inner.name), self._source(key)))
            elif item.compare:
                rows.append((item.name, value, self._source(item.name)))
        return rows

    def _source(self, key: str) -> Source:
        return self.sources.get(key, Source.DEFAULT)
