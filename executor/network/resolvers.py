"""The name servers that containers use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from executor.errors import NetworkError
from executor.network.config import Address

RESOLV_CONF = Path("/etc/resolv.conf")
SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
"""What systemd's local resolver asks itself, and the engine takes where the host asks that one."""

ENGINE_FALLBACK = ("8.8.8.8", "8.8.4.4")
"""What the engine gives its containers when the host has none that they could reach."""


def resolvers(configured: Sequence[str]) -> tuple[IPv4Address, ...]:
    """Those configured, else what the engine makes of the host's. Raises NetworkError for no address."""
    return tuple(address for address in _all(configured) if isinstance(address, IPv4Address))


def resolvers_ipv6(configured: Sequence[str]) -> tuple[IPv6Address, ...]:
    """The same of IPv6, without those on a link of the host. Raises NetworkError for no address."""
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
    """The host's name servers as far as containers can reach them."""
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
