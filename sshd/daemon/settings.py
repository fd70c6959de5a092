"""The daemon's settings, passed between processes as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from sshd.ssh.algorithms import Algorithms
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
