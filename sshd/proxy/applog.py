"""Where the proxy tells the app about visits, and operators how many there are."""

from __future__ import annotations

from typing import Protocol

from sshd.proxy.target import Target

SOURCE_TYPE = "SSH"


class AppLog(Protocol):
    """Must not block and must not raise."""

    def visit(self, target: Target, text: str) -> None:
        """A line into the app's own stream, of source type ``SSH``."""

    def connections(self, count: int) -> None:
        """The gauge ``ssh-connections``."""


class NoAppLog:
    """Nobody listens."""

    def visit(self, target: Target, text: str) -> None:
        """Nothing."""

    def connections(self, count: int) -> None:
        """Nothing."""
