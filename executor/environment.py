"""Variables of processes: their layers, and how these are merged. Pure.

The layers, weakest first: the image; the instance (desired variables, certificates, credentials); the action;
the network. The engine adds PATH, USER and HOME where they are absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from executor.model import PortMapping

Env = tuple[tuple[str, str], ...]
"""Variables in order; merged ones have unique names."""

CF_SYSTEM_CERT_PATH = "CF_SYSTEM_CERT_PATH"
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER_PATH = "/usr/local/bin:/usr/bin:/bin"


def merge_env(*layers: Iterable[tuple[str, str]]) -> Env:
    """Merge layers, the strongest last: a name keeps its first position and gets its last value."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    return tuple(merged.items())


def image_env(lines: Iterable[str]) -> Env:
    """Parse ``NAME=value`` lines of an image's configuration."""
    parts = (line.partition("=") for line in lines)
    return merge_env((name, value) for name, _, value in parts)


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


def with_defaults(env: Env, *, uid: int, user: str, home: str) -> Env:
    """Add PATH, USER and HOME where they are absent."""
    path = ROOT_PATH if uid == 0 else USER_PATH
    present = {name for name, _ in env}
    defaults = (("PATH", path), ("USER", user or "root"), ("HOME", home))
    return (*env, *(pair for pair in defaults if pair[0] not in present))


def _port(mapping: PortMapping) -> dict[str, int]:
    values = {
        "external": mapping.host_port,
        "internal": mapping.container_port,
        "external_tls_proxy": mapping.host_tls_proxy_port,
        "internal_tls_proxy": mapping.container_tls_proxy_port,
    }
    return {key: value for key, value in values.items() if value or key == "internal"}
