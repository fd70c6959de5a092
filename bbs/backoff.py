"""Retry policy of all clients: exponential back-off with jitter.

With fixed pauses, all cells would repeat their requests at the same moments after a BBS or Locket restarts.
The limit of a pause doubles with each attempt, and the pause is random between half the limit and the limit.
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
    """Number of attempts, and the pauses between them.

    attempts: including the first; 0 for no limit.
    first_s: limit of the first pause in seconds. The limit doubles with each attempt, up to ``most_s``.
    sleep: replaced in tests.
    """

    attempts: int = 3
    first_s: float = 0.5
    most_s: float = 8.0
    sleep: Sleep = asyncio.sleep

    def pause_s(self, failures: int) -> float:
        """The pause after a number of consecutive failures (1 or more), in seconds."""
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        return random.uniform(longest / 2, longest)

    def retrying(
        self, retry: retry_base, *, before_sleep: Callable[[RetryCallState], None] | None = None
    ) -> AsyncRetrying:
        """A retry loop. retry: selects the failures to retry. The last failure is raised unchanged.

        before_sleep: called after each failed attempt except the last.
        """
        return AsyncRetrying(
            stop=stop_after_attempt(self.attempts) if self.attempts else stop_never,
            wait=lambda state: self.pause_s(state.attempt_number),
            retry=retry,
            sleep=self.sleep,
            before_sleep=before_sleep,
            reraise=True,
        )
