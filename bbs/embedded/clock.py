"""Wall and monotonic clock of the control plane, injected so that tests can control them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

SECOND = 1_000_000_000
"""One second in ns."""


class Clock(Protocol):
    """Both times are in ns. Both methods may be called from any thread."""

    def wall(self) -> int:
        """Time since the epoch, used in records."""
        ...

    def monotonic(self) -> int:
        """Time that never goes back, used for TTLs."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The system clocks."""

    def wall(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()
