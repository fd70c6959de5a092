"""The daemon's settings, passed between processes as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from sshd.preparation import Prepared
from sshd.ssh.algorithms import Algorithms, algorithms
from sshd.ssh.server import LOGIN_SECONDS

IDLE_SECONDS = 300.0
"""A connection without traffic for this long is dropped."""

KEEPALIVE_SECONDS = 15.0
"""Interval of keepalive requests in a session with a terminal."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``authorized_key`` is the key's blob: the decoded base64 part of its line."""

    host_key: str
    authorized_key: bytes | None
    allow_unauthenticated: bool
    inherit_environment: bool
    algorithms: Algorithms
    idle_seconds: float = IDLE_SECONDS
    keepalive_seconds: float = KEEPALIVE_SECONDS
    login_seconds: float = LOGIN_SECONDS


def read_settings(prepared: Prepared) -> Settings:
    """The settings in the plain values of the listener process."""
    key = prepared["authorized_key"]
    return Settings(
        host_key=str(prepared["host_key"]),
        authorized_key=key if isinstance(key, bytes) else None,
        allow_unauthenticated=bool(prepared["allow_unauthenticated"]),
        inherit_environment=bool(prepared["inherit_environment"]),
        algorithms=algorithms(
            str(prepared["ciphers"]),
            str(prepared["macs"]),
            str(prepared["key_exchanges"]),
            str(prepared["host_key_algorithms"]),
        ),
    )
