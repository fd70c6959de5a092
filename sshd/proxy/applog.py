"""Interface for the proxy's messages to the app's log, and for its connection gauge."""

from __future__ import annotations

from typing import Protocol

from sshd.proxy.target import Target

SOURCE_TYPE = "SSH"


class AppLog(Protocol):
    """Implementations must not block and must not raise."""

    def write_line(self, target: Target, text: str) -> None:
        """Write a line with source type ``SSH`` to the app's log stream."""

    def connections(self, count: int) -> None:
        """Set the gauge ``ssh-connections``."""


class NoAppLog:
    """Discards everything."""

    def write_line(self, target: Target, text: str) -> None:
        """Do nothing."""

    def connections(self, count: int) -> None:
        """Do nothing."""
