"""The two times a control plane needs, injected so that tests can turn them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

SECOND = 1_000_000_000
"""In ns."""


class Clock(Protocol):
    """Both in ns; callable from any thread."""

    def wall(self) -> int:
        """Since the epoch: what records carry."""
        ...

    def monotonic(self) -> int:
        """Never set back: what a TTL is measured with."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clocks."""

    def wall(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()
