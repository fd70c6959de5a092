"""What a process finds in its environment: the networking variables, and how layers become one list.

Pure. The engine adds ``PATH``, ``USER`` and ``HOME`` where nobody gave them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from executor.model import Container, PortMapping

Env = tuple[tuple[str, str], ...]

CF_SYSTEM_CERT_PATH = "CF_SYSTEM_CERT_PATH"


def layered(*layers: Sequence[tuple[str, str]]) -> Env:
    """Layers, weakest first, as one list: a name stays where it came first, with its last value."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    return tuple(merged.items())


def networking(container: Container) -> Env:
    """The ``CF_INSTANCE_*`` variables every Run step is given, tasks included.

    Without mappings port and address are empty; when the first mapping has no host port they are left out.
    """
    env = [("CF_INSTANCE_IP", container.external_ip), ("CF_INSTANCE_INTERNAL_IP", container.internal_ip)]
    if container.internal_ip_v6:
        env.append(("CF_INSTANCE_INTERNAL_IPV6", container.internal_ip_v6))
    if not container.ports:
        env += [("CF_INSTANCE_PORT", ""), ("CF_INSTANCE_ADDR", "")]
    elif port := container.ports[0].host_port:
        env += [("CF_INSTANCE_PORT", str(port)), ("CF_INSTANCE_ADDR", f"{container.external_ip}:{port}")]
    env.append(("CF_INSTANCE_PORTS", ports_json(container.ports)))
    return tuple(env)


def ports_json(ports: Sequence[PortMapping]) -> str:
    """The value of ``CF_INSTANCE_PORTS``: compact, keys in a fixed order, zeros only for ``internal``."""
    return json.dumps([_port_entry(mapping) for mapping in ports], separators=(",", ":"))


def _port_entry(mapping: PortMapping) -> dict[str, int]:
    entry = {
        "external": mapping.host_port,
        "internal": mapping.container_port,
        "external_tls_proxy": mapping.host_tls_proxy_port,
        "internal_tls_proxy": mapping.container_tls_proxy_port,
    }
    return {key: port for key, port in entry.items() if port or key == "internal"}
