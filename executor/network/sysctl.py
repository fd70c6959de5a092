"""Settings of the kernel."""

from __future__ import annotations

from pathlib import Path

from executor.errors import NetworkError

SYSCTL = Path("/proc/sys")


def set_sysctl(name: str, value: str) -> None:
    """Write ``net/...``; nothing to do when it says so already. Raises NetworkError."""
    path = SYSCTL / name
    try:
        if path.read_text(encoding="ascii").strip() != value:
            path.write_text(value, encoding="ascii")
    except OSError as error:
        raise NetworkError(f"{path}: cannot be set to {value}: {error.strerror}") from error
