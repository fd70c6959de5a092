"""Clocks that tests move."""

from __future__ import annotations


class HeldClock:
    """Stands still until it is moved. now: in seconds."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)
