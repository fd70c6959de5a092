"""Metric families of the SSH proxy."""

from __future__ import annotations

from typing import Final

from common.metrics.families import Label, counter, declared_in, gauge

CLIENTS = gauge("diego_ssh_proxy_clients", "Connections of clients, also before their authentication.")
SESSIONS = gauge("diego_ssh_proxy_sessions", "Authenticated connections that are passed on to an instance.")
LOGINS = counter(
    "diego_ssh_proxy_logins_total", "Passwords that clients sent.", Label("result", ("accepted", "refused"))
)
UNREACHABLE = counter(
    "diego_ssh_proxy_unreachable_instances_total", "Sessions whose instance could not be reached."
)

FAMILIES: Final = declared_in(globals())
