"""Keys of ``rep.json`` that the Go program does not have.

The text below a key says what it does, for the reference (`cell.assembly.configreference`).
"""

from __future__ import annotations

from dataclasses import dataclass

from bbs.models.meta import Int64, UInt64
from executor.cache.limits import DEFAULT_LIMITS
from executor.engine.spools import CELL_BYTES, STREAM_BYTES
from executor.network.config import CONNECTION_LIMIT
from rep.config.values import Duration, go_duration


@dataclass(frozen=True, kw_only=True)
class OwnKeys:
    """Keys that the Go program does not have."""

    rep_url: str = ""
    """URL to register, instead of `https://CELL.ADVERTISE_DOMAIN:PORT`."""
    on_stop: str = "hand-over"
    """What SIGTERM and SIGINT do. `hand-over` leaves the containers to the next process of the cell,
    `evacuate` replaces them on other cells first, `destroy` ends them, as the Go program does."""
    orphan_grace_period: Duration = go_duration("1m")
    """Time from a start until containers that the cell does not know are removed; `0s`: at once."""
    docker_host: str = "unix:///var/run/docker.sock"
    """Address of the container engine."""
    state_dir: str = "/var/lib/diego-cell"
    """Directory of the data that must survive a restart of the cell."""
    network_name: str = "diego-cell"
    """Host interface of the container network, at most 15 characters."""
    network_subnet: str = "10.255.0.0/16"
    """IPv4 addresses of the containers."""
    network_subnet_ipv6: str = ""
    """IPv6 addresses of the containers. Empty: derived from name and subnet (`fd...::/64`) if the host has
    IPv6. `none`: no IPv6."""
    network_mtu: Int64 = 0
    """Packet size in the container network; 0: that of the interface of the default route."""
    dns_servers: tuple[str, ...] = ()
    """Name servers of the containers. Empty: those of the host."""
    denied_networks: tuple[str, ...] = ()
    """Networks that an app reaches only if its egress rules allow them. They always include the host and a
    cloud's metadata address, and all of IPv6 if some are named and none of IPv6."""
    allowed_networks: tuple[str, ...] = ()
    """Exceptions from `denied_networks` for all apps."""
    container_bandwidth_in: Int64 = 0
    """Bytes per second to each container; 0: no limit."""
    container_bandwidth_out: Int64 = 0
    """Bytes per second from each container; 0: no limit."""
    container_connection_limit: UInt64 = CONNECTION_LIMIT
    """Concurrent connections of a container, per IP version, as counted by the kernel's connection tracking;
    0: no limit."""
    host_port_start: Int64 = 61001
    """First host port for containers."""
    host_port_count: Int64 = 4534
    """Number of host ports for containers."""
    container_max_count: Int64 = 250
    """Most containers of the cell. One less is published."""
    external_ip: str = ""
    """Address of this host for routers. Empty: that of the default route."""
    nft_table: str = "diego_cell"
    """Name of the cell's nftables table."""
    instance_identity_key_type: str = "rsa"
    """Keys of the instances' credentials: `rsa` with 3072 bits, or `ecdsa` with P-256."""
    instance_identity_keys_ready: Int64 = 16
    """Number of keys that are generated ahead."""
    volume_bind_paths: tuple[str, ...] = ()
    """Host directories that the built-in volume driver `bind` may mount."""
    allow_privileged_containers: bool = False
    """Run containers that ask for root of this machine."""
    container_no_new_privileges: bool = False
    """Setuid programs have no effect in containers."""
    container_limits_interval: Duration = go_duration("2s")
    """Interval of the checks for limits that containers reached."""
    archive_free_bytes: UInt64 = DEFAULT_LIMITS.free_bytes
    """Bytes that an unpacked download may always have."""
    archive_ratio: UInt64 = DEFAULT_LIMITS.ratio
    """Beyond that, unpacked bytes per downloaded byte."""
    archive_members: UInt64 = DEFAULT_LIMITS.members
    """Most files and directories of an unpacked download."""
    archive_depth: UInt64 = DEFAULT_LIMITS.depth
    """Most nested directories of an unpacked download."""
    container_max_cpu_percent: Int64 = 0
    """Hard CPU limit of CPU weight 100, in percent of one core; 0: none."""
    log_format: str = "auto"
    """Form of the cell's own log: `json`, `text` for people, or `auto`, which is `text` on a terminal."""
    log_file: str = ""
    """File of the cell's own log, instead of standard output. If it is moved away, a new one is made."""
    log_sinks: tuple[str, ...] = ()
    """Targets of app logs next to loggregator: `stdout`, `journald`, `syslog+tcp://host:601`, `file:/path`
    and others, see `docs/logs-and-metrics.md`. Empty without loggregator: standard error."""
    log_spool_stream_bytes: UInt64 = STREAM_BYTES
    """Bytes of output of one stream that are kept on disk until the targets have them."""
    log_spool_bytes: UInt64 = CELL_BYTES
    """The same for all streams of the cell together."""
