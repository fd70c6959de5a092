"""Kernel settings in /proc/sys."""

from __future__ import annotations

from pathlib import Path

from executor.errors import NetworkError

SYSCTL = Path("/proc/sys")


def outgoing_ports() -> tuple[tuple[int, int], str]:
    """First and last port of the outgoing connection range, and the exceptions, as ``1-5,9``.

    Raises NetworkError.
    """
    where = SYSCTL / "net/ipv4"
    try:
        first, last = (where / "ip_local_port_range").read_text(encoding="ascii").split()
        return (int(first), int(last)), (where / "ip_local_reserved_ports").read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise NetworkError(f"{where}/ip_local_*: {error}") from error


def set_sysctl(name: str, value: str) -> None:
    """Set ``net/...`` unless it has the value already. Raises NetworkError."""
    path = SYSCTL / name
    try:
        if path.read_text(encoding="ascii").strip() != value:
            path.write_text(value, encoding="ascii")
    except OSError as error:
        raise NetworkError(f"{path}: cannot be set to {value}: {error.strerror}") from error
