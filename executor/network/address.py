"""Detection of the host address that routers and other cells use."""

from __future__ import annotations

import ipaddress
import socket

import psutil

_ANY_DESTINATION = ("198.51.100.1", 9)
"""A documentation address. Connecting a datagram socket looks up the route and sends nothing."""


def detect_external_ip() -> str:
    """The source address of the default route, else the first non-loopback address, else 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ANY_DESTINATION)
            return str(probe.getsockname()[0])
        except OSError:
            return _first_address() or "127.0.0.1"


def _first_address() -> str | None:
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not ipaddress.ip_address(address.address).is_loopback:
                return str(address.address)
    return None
