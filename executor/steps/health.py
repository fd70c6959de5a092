"""Health of an instance: health check and readiness steps, and the repeated probes of a monitor action."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from common.gotext import format_seconds
from executor.logs.api import Output, Stream
from executor.logs.clock import Clock
from executor.steps.base import EmittableError, Step, StepError, interrupted, outcome_of


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
            elapsed = format_seconds(round(self._clock.monotonic() - begun, 3))
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


class Eventually:
    """Waits ``interval`` s and probes, repeatedly, until a probe succeeds.

    ``timeout`` is in s; 0 means none. It is checked only after a failed probe, whose error is then the step's
    error. Every probe is a new step.
    """

    def __init__(self, probe: Callable[[], Step], *, interval: float, timeout: float, clock: Clock) -> None:
        self._probe = probe
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self.ready.set()
        begun = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._interval)
            try:
                return await self._probe().run()
            except StepError:
                late = self._timeout > 0 and self._clock.monotonic() - begun > self._timeout
                if late or interrupted():
                    raise


class Consistently:
    """Waits ``interval`` s and probes, repeatedly, until a probe fails. Every probe is a new step."""

    def __init__(self, probe: Callable[[], Step], *, interval: float) -> None:
        self._probe = probe
        self._interval = interval
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self.ready.set()
        while not interrupted():
            await asyncio.sleep(self._interval)
            await self._probe().run()
