"""The daemon's settings as its parts need them. They cross from process to process as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from sshd.ssh.algorithms import Algorithms
from sshd.ssh.server import LOGIN_SECONDS

IDLE_SECONDS = 300.0
"""A connection without any traffic for that long is dropped."""

KEEPALIVE_SECONDS = 15.0
"""Between two keepalive requests of a session with a terminal."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``authorized_key`` is the key's blob, the part of its line that is base64."""

    host_key: str
    authorized_key: bytes | None
    allow_unauthenticated: bool
    inherit_environment: bool
    algorithms: Algorithms
    idle_seconds: float = IDLE_SECONDS
    keepalive_seconds: float = KEEPALIVE_SECONDS
    login_seconds: float = LOGIN_SECONDS
