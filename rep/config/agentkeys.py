"""Keys of ``rep.json`` for the agent: identity, addresses, control plane, stacks, its own log.

The text below a key says what it does, for the reference (`cell.assembly.configreference`).
"""

from __future__ import annotations

from dataclasses import dataclass

from bbs.models.meta import Int64
from rep.config.values import Duration, go_duration


@dataclass(frozen=True, kw_only=True)
class RepKeys:
    """Identity, addresses, the control plane, stacks."""

    cell_id: str = ""
    """Identity of the cell, and the key of its presence. Required."""
    cell_index: Int64 = 0
    """Number of the cell, which the auctioneer uses to fill some cells first."""
    zone: str = ""
    """Availability zone of the cell. The auctioneer spreads instances over zones."""
    listen_addr: str = "127.0.0.1:1800"
    """Address of the admin listener: `/ping`, `/evacuate`, `/outcomes`, `/orphans`, `/metrics`, `/page`."""
    listen_addr_securable: str = "0.0.0.0:1801"
    """Address of the network listener: `/work`, `/state`, stop, update, cancel. Default without certificates:
    `127.0.0.1:1801`."""
    advertise_domain: str = "cell.service.cf.internal"
    """Domain of the cell's name in the URL that it registers."""
    ca_cert_file: str = ""
    """CA of clients and of the BBS, PEM. Required if `bbs_address` is `https://`."""
    cert_file: str = ""
    """Certificate of the cell, as server and as client of the BBS, PEM. A renewed file applies within 5 s."""
    key_file: str = ""
    """Private key of `cert_file`, PEM."""
    bbs_address: str = ""
    """URL of the BBS. With `http://` the cell may run without certificates, on loopback only. Required."""
    bbs_client_session_cache_size: Int64 = 0
    """Size of a TLS session cache."""
    bbs_max_idle_conns_per_host: Int64 = 0
    """Number of idle connections to the BBS."""
    communication_timeout: Duration = go_duration("10s")
    """Time limit of a request to the BBS."""
    polling_interval: Duration = go_duration("30s")
    """Interval of the bulk pass, which compares containers with the records of the BBS."""
    evacuation_polling_interval: Duration = go_duration("10s")
    """The same during an evacuation."""
    evacuation_timeout: Duration = go_duration("10m")
    """Time limit of an evacuation. What is left then is ended."""
    lock_ttl: Duration = go_duration("15s")
    """Lifetime of the presence without renewal, in whole seconds. Instances of a cell without presence are
    replaced."""
    lock_retry_interval: Duration = go_duration("5s")
    """Interval of renewals."""
    report_interval: Duration = go_duration("1m")
    """Interval of the request metrics."""
    session_name: str = "rep"
    """Name of the component in its log."""
    placement_tags: tuple[str, ...] = ()
    """Tags that an instance must have to be placed here."""
    optional_placement_tags: tuple[str, ...] = ()
    """Tags that an instance may have."""
    preloaded_root_fs: tuple[str, ...] = ()
    """Stacks of the cell, each `name:path`. The path is that of a tar file, or an image, such as
    `cloudfoundry/cflinuxfs4`."""
    supported_providers: tuple[str, ...] = ("docker",)
    """URL schemes of root filesystems that are no stacks."""
    extra_root_fs_dir: str = ""
    """Directory with further stacks, one `*.tar` file each."""
    sidecar_root_fs_path: str = ""
    """Root filesystem of check containers."""
    sidecar_root_fs: str = ""
    """The same by the name of a stack. Default: the first stack."""
    layering_mode: str = "single-layer"
    """`two-layer`: an app's droplet is a layer of the root filesystem, and starts need no copy of it."""


@dataclass(frozen=True, kw_only=True)
class PlatformKeys:
    """Locket, the component's own log, the debug server. Keepalive times are whole seconds."""

    locket_address: str = ""
    """Host and port of Locket. Required."""
    locket_ca_cert_file: str = ""
    """CA of Locket, PEM. Default: `ca_cert_file`."""
    locket_client_cert_file: str = ""
    """Certificate for Locket, PEM. Default: `cert_file`."""
    locket_client_key_file: str = ""
    """Private key of `locket_client_cert_file`, PEM."""
    locket_client_keepalive_time: Int64 = 10
    """Seconds without traffic until a ping to Locket."""
    locket_client_keepalive_timeout: Int64 = 22
    """Seconds until an unanswered ping ends the connection."""
    log_level: str = "info"
    """Lowest level of the cell's own log."""
    time_format: str = "unix-epoch"
    """Form of the times in the cell's own log."""
    redact_secrets: bool = False
    """Replace values that look like secrets in the cell's own log."""
    redact_patterns: tuple[str, ...] = ()
    """Regular expressions of what is a secret, next to the built-in ones."""
    max_data_string_length: Int64 = 640
    """Longest text in an entry of the cell's own log, in characters; 0: no limit."""
    debug_address: str = ""
    """Address of the debug listener: `/log-level`. Empty: none."""
