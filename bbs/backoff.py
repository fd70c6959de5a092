"""The one retry policy of the agent: exponential back-off with jitter.

A fixed pause makes all cells ask in step after a BBS or Locket restarts. Each wait here is random between
half and all of a length that doubles from attempt to attempt, so clients spread out and still wait.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, stop_never
from tenacity.retry import retry_base

_MOST_DOUBLINGS = 60

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often something is tried, and how long the pauses are.

    attempts: the first included; 0 for no limit. first_s: the longest first pause in seconds; each later
    one is up to twice as long as the one before, at most ``most_s``. sleep: replaced in tests.
    """

    attempts: int = 3
    first_s: float = 0.5
    most_s: float = 8.0
    sleep: Sleep = asyncio.sleep

    def pause_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, at least one."""
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        return random.uniform(longest / 2, longest)

    def retrying(
        self, retry: retry_base, *, before_sleep: Callable[[RetryCallState], None] | None = None
    ) -> AsyncRetrying:
        """A retry loop for failures that ``retry`` names; the last one is raised as it is.

        before_sleep: called after each failed attempt that another one follows.
        """
        return AsyncRetrying(
            stop=stop_after_attempt(self.attempts) if self.attempts else stop_never,
            wait=lambda state: self.pause_s(state.attempt_number),
            retry=retry,
            sleep=self.sleep,
            before_sleep=before_sleep,
            reraise=True,
        )
