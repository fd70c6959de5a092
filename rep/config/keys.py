"""All keys of ``rep.json``: names, types, defaults.

The field names are the key names. Durations are nanoseconds here and Go texts (``"30s"``) in the file.
The defaults are those of the last release that had built-in ones. Required keys have no default;
``rep.config.validate`` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from bbs.models.meta import Int64, UInt64
from rep.config.agentkeys import PlatformKeys, RepKeys
from rep.config.executorkeys import ExecutorKeys
from rep.config.ownkeys import OwnKeys
from rep.config.values import Source


@dataclass(frozen=True, kw_only=True)
class Loggregator:
    """The ``loggregator`` object: the destination of logs and metrics."""

    loggregator_api_host: str = "127.0.0.1"
    """Host of the log agent."""
    loggregator_api_port: Int64 = 3458
    """Port of the log agent."""
    loggregator_ca_path: str = ""
    """CA of the log agent, PEM. Nothing is sent without this, certificate and key."""
    loggregator_cert_path: str = ""
    """Client certificate for the log agent, PEM."""
    loggregator_key_path: str = ""
    """Private key of the client certificate, PEM."""
    loggregator_job_deployment: str = ""
    """Name of the deployment."""
    loggregator_job_name: str = ""
    """Name of the job."""
    loggregator_job_index: str = ""
    """Index of the job."""
    loggregator_job_ip: str = ""
    """Address of the job."""
    loggregator_job_origin: str = "rep"
    """Tag `origin` of log lines and metrics."""
    loggregator_source_id: str = "rep"
    """Source of the cell's own metrics."""
    loggregator_instance_id: str = ""
    """Instance of the cell's own metrics."""
    loggregator_batch_max_size: UInt64 = 100
    """Most envelopes that are sent together; 0: 100."""
    loggregator_app_metric_exclusion_filter: tuple[str, ...] = ()
    """Metrics of apps that are not sent."""
    loggregator_use_v2_api: bool = False
    """Version of the log agent's protocol."""
    BatchFlushInterval: Int64 = 100_000_000
    """Longest time until waiting envelopes are sent, in nanoseconds; 0: 100 ms. The key has this spelling."""

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
