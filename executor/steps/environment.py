"""Process environment: merge of the layers, and the network variables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from executor.model import PortMapping

Env = tuple[tuple[str, str], ...]


def merge_env(*layers: Iterable[tuple[str, str]]) -> Env:
    """Merge layers: a name keeps its first position and gets its last value."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    return tuple(merged.items())


def network_env(external_ip: str, internal_ip: str, ports: Sequence[PortMapping]) -> Env:
    """The network variables of every Run step, in order."""
    env = [("CF_INSTANCE_IP", external_ip), ("CF_INSTANCE_INTERNAL_IP", internal_ip)]
    if not ports:
        env += [("CF_INSTANCE_PORT", ""), ("CF_INSTANCE_ADDR", "")]
    elif ports[0].host_port:
        first = str(ports[0].host_port)
        env += [("CF_INSTANCE_PORT", first), ("CF_INSTANCE_ADDR", f"{external_ip}:{first}")]
    env.append(("CF_INSTANCE_PORTS", json.dumps([*map(_port, ports)], separators=(",", ":"))))
    return tuple(env)


def _port(mapping: PortMapping) -> dict[str, int]:
    values = {
        "external": mapping.host_port,
        "internal": mapping.container_port,
        "external_tls_proxy": mapping.host_tls_proxy_port,
        "internal_tls_proxy": mapping.container_tls_proxy_port,
    }
    return {key: value for key, value in values.items() if value or key == "internal"}
