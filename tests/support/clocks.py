"""Clocks that tests move."""

from __future__ import annotations


class HeldClock:
    """The times a log takes; ``now`` is in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)
