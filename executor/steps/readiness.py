"""Readiness: decides whether routers may send requests to the instance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from executor.logs.api import Output
from executor.steps.base import Step, outcome_of

PASSED = "Container passed the readiness health check. Container marked ready and added to route pool.\n"
FAILED = (
    "Container failed the readiness health check. Container marked not ready and removed from route pool.\n"
)


class Readiness:
    """Waits until all checks pass, then until one fails, repeatedly. A failed check never ends the instance.

    until_ready, until_failure: build a new step for every round. on_change: called with whether the instance
    is routable, at every change.
    """

    def __init__(
        self,
        until_ready: Callable[[], Step],
        until_failure: Callable[[], Step],
        on_change: Callable[[bool], None],
        output: Output,
    ) -> None:
        self._until_ready = until_ready
        self._until_failure = until_failure
        self._on_change = on_change
        self._output = output
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self.ready.set()
        self._output.tell("Starting readiness health monitoring of container\n")
        while True:
            error = await outcome_of(self._until_ready())
            if error is not None:
                self._output.tell("Failed to run the readiness check\n")
                raise error
            self._on_change(True)
            self._output.tell(PASSED)
            await outcome_of(self._until_failure())
            self._on_change(False)
            self._output.tell(FAILED)
