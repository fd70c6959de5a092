"""Health check: startup check, then liveness check of an instance."""

from __future__ import annotations

import asyncio

from executor.logs.api import Output, Stream
from executor.logs.clock import Clock
from executor.steps.base import EmittableError, Step, outcome_of
from executor.steps.text import format_duration


class HealthCheck:
    """The step is ready when the startup check passes, and fails when the liveness check ends.

    liveness: None: no liveness check; the step then runs until interrupted. cell_output: stream of the
    container's log source. check_output: stream of the checks' log source, for failures.
    """

    def __init__(
        self, startup: Step, liveness: Step | None, cell_output: Output, check_output: Output, clock: Clock
    ) -> None:
        self._startup = startup
        self._liveness = liveness
        self._cell_output = cell_output
        self._check_output = check_output
        self._clock = clock
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self._cell_output.tell("Starting health monitoring of container\n")
        begun = self._clock.monotonic()
        error = await outcome_of(self._startup)
        if error is not None:
            elapsed = format_duration(round(self._clock.monotonic() - begun, 3))
            self._check_output.tell(f"{error}\n", Stream.ERR)
            self._cell_output.tell(
                f"Failed after {elapsed}: startup health check never passed.\n", Stream.ERR
            )
            raise EmittableError(f"Instance never healthy after {elapsed}: {error}") from error
        self._cell_output.tell("Container became healthy\n")
        self.ready.set()
        if self._liveness is None:
            await asyncio.get_running_loop().create_future()
        else:
            error = await outcome_of(self._liveness)
        self._check_output.tell(f"{error or ''}\n", Stream.ERR)
        self._cell_output.tell("Container became unhealthy\n", Stream.ERR)
        raise EmittableError(f"Instance became unhealthy: {error or ''}") from error
