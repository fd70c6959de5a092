"""Selection of the name servers for containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from executor.errors import NetworkError
from executor.network.config import Address

RESOLV_CONF = Path("/etc/resolv.conf")
SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
"""Upstream servers of systemd-resolved; the engine takes them if the host uses systemd's local resolver."""

ENGINE_FALLBACK = ("8.8.8.8", "8.8.4.4")
"""The engine's default servers, for hosts without a name server that containers can reach."""


def resolvers(configured: Sequence[str]) -> tuple[IPv4Address, ...]:
    """The configured servers, else those the engine derives from the host's. Raises NetworkError for an
    invalid address.
    """
    return tuple(address for address in _all(configured) if isinstance(address, IPv4Address))


def resolvers_ipv6(configured: Sequence[str]) -> tuple[IPv6Address, ...]:
    """The IPv6 servers, without link-local ones. Raises NetworkError for an invalid address."""
    return tuple(
        address
        for address in _all(configured)
        if isinstance(address, IPv6Address) and not address.is_link_local
    )


def _all(configured: Sequence[str]) -> list[Address]:
    try:
        return [ip_address(text) for text in configured or choose(_read)]
    except ValueError as error:
        raise NetworkError(f"name server: {error}") from error


def choose(read: Callable[[Path], str]) -> Sequence[str]:
    """The host's name servers that containers can reach, else the engine's defaults."""
    for path in (RESOLV_CONF, SYSTEMD_RESOLV_CONF):
        if reachable := [text for text in _name_servers(read(path)) if not ip_address(text).is_loopback]:
            return reachable
    return ENGINE_FALLBACK


def _name_servers(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                ip_address(words[1])
            except ValueError:
                continue
            found.append(words[1])
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
