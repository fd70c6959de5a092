"""Configuration keys without effect, and the reasons for the log.

A test compares the list with the keys that the code uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_PROXY = "there is no proxy in front of containers here: their ports are reached directly"
_CONNECTIONS = "connections to the BBS are kept and shared without a limit of their number"
_ENGINE = "the container engine is Docker, at docker_host"
_FACTS = "deployment facts that are sent nowhere"

WITHOUT_EFFECT: Mapping[str, str] = {
    "bbs_client_session_cache_size": _CONNECTIONS,
    "bbs_max_idle_conns_per_host": _CONNECTIONS,
    "lock_retry_interval": "the presence is renewed every 5 s, as in the original",
    "use_schedulable_disk_size": "the size of the file system below the engine's storage counts",
    "enable_container_proxy_healthcheck": _PROXY,
    "proxy_healthcheck_interval": _PROXY,
    "proxy_enable_http2": _PROXY,
    "container_proxy_path": _PROXY,
    "container_proxy_config_path": _PROXY,
    "container_proxy_trusted_ca_certs": _PROXY,
    "container_proxy_verify_subject_alt_name": _PROXY,
    "container_proxy_require_and_verify_client_certs": _PROXY,
    "container_proxy_ads_addresses": _PROXY,
    "envoy_drain_timeout": _PROXY,
    "garden_network": _ENGINE,
    "garden_addr": _ENGINE,
    "loggregator_job_deployment": _FACTS,
    "loggregator_job_name": _FACTS,
    "loggregator_job_index": _FACTS,
    "loggregator_job_ip": _FACTS,
    "loggregator_use_v2_api": "logs are sent when the certificate paths are given",
}
"""Reason by key. Job templates write most of these keys for every cell, with default values."""

WARNED: Mapping[str, str] = {
    key: WITHOUT_EFFECT[key]
    for key in (
        "bbs_client_session_cache_size",
        "bbs_max_idle_conns_per_host",
        "use_schedulable_disk_size",
        "enable_container_proxy_healthcheck",
        "container_proxy_require_and_verify_client_certs",
    )
} | {"enable_container_proxy": f"only proxy_memory_allocation_mb is added to each instance; {_PROXY}"}
"""Keys accepted without effect; a set value logs a warning."""


def warnings(values: Mapping[str, object]) -> Iterator[str]:
    """The warnings about the values of a file."""
    for key, why in WARNED.items():
        if values.get(key):
            yield f'key "{key}" has no effect: {why}'
