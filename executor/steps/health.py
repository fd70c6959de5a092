"""Health of an instance: health check and readiness steps, and the repeated probes of a monitor action."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from common.gotext import format_seconds
from executor.clock import Clock
from executor.logs.api import Output, Stream
from executor.steps.base import EmittableError, Step, StepError, interrupted, outcome_of
from executor.steps.replay import Recorded

RESUMED_PAUSE_S = 1.0
"""Pause before a liveness check goes on after a restart of the agent. If the app has ended, its exit status
is read in the pause, and is the reason of the crash.
"""


@dataclass(eq=False)
class HealthCheck:
    """The step is ready when the startup check passes, and fails when the liveness check ends.

    startup: builds the startup check; its time limit counts from that many s ago. liveness: None: no liveness
    check; the step then runs until interrupted. cell_output: stream of the container's log source.
    check_output: stream of the checks' log source, for failures. record: a check that had passed before a
    restart of the agent goes on with its liveness check.
    """

    startup: Callable[[float], Step]
    liveness: Step | None
    cell_output: Output
    check_output: Output
    clock: Clock
    record: Recorded
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        past = self.record.past
        if past is not None and past.ready:
            self.ready.set()
        await self.record.answer()
        try:
            if self.ready.is_set():
                await asyncio.sleep(RESUMED_PAUSE_S)
            else:
                await self._start_up(self.clock.monotonic() if past is None else past.at)
            await self._check_liveness()
        except StepError as error:
            self.record.end(error)
            raise

    async def _start_up(self, begun: float) -> None:
        if self.record.past is None:
            self.record.note(at=begun)
            self.cell_output.write("Starting health monitoring of container\n")
        error = await outcome_of(self.startup(self.clock.monotonic() - begun))
        if error is not None:
            elapsed = format_seconds(round(self.clock.monotonic() - begun, 3))
            self.check_output.write(f"{error}\n", Stream.ERR)
            self.cell_output.write(
                f"Failed after {elapsed}: startup health check never passed.\n", Stream.ERR
            )
            raise EmittableError(f"Instance never healthy after {elapsed}: {error}") from error
        self.record.note(ready=True)
        self.cell_output.write("Container became healthy\n")
        self.ready.set()

    async def _check_liveness(self) -> None:
        if self.liveness is None:
            await asyncio.get_running_loop().create_future()
        else:
            error = await outcome_of(self.liveness)
        self.check_output.write(f"{error or ''}\n", Stream.ERR)
        self.cell_output.write("Container became unhealthy\n", Stream.ERR)
        raise EmittableError(f"Instance became unhealthy: {error or ''}") from error


PASSED = "Container passed the readiness health check. Container marked ready and added to route pool.\n"
FAILED = (
    "Container failed the readiness health check. Container marked not ready and removed from route pool.\n"
)


@dataclass(eq=False)
class Readiness:
    """Waits until all checks pass, then until one fails, repeatedly. A failed check never ends the instance.

    until_ready, until_failure: build a new step for every round. on_change: called with whether the instance
    is routable, at every change, and after a restart of the agent if it is.
    """

    until_ready: Callable[[], Step]
    until_failure: Callable[[], Step]
    on_change: Callable[[bool], None]
    output: Output
    record: Recorded
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        past = self.record.past
        self.ready.set()
        await self.record.answer()
        if past is None:
            self.record.note()
            self.output.write("Starting readiness health monitoring of container\n")
        elif past.ready:
            self.on_change(True)
            await self._lose_readiness()
        while True:
            error = await outcome_of(self.until_ready())
            if error is not None:
                self.output.write("Failed to run the readiness check\n")
                self.record.end(error)
                raise error
            self.record.note(ready=True)
            self.on_change(True)
            self.output.write(PASSED)
            await self._lose_readiness()

    async def _lose_readiness(self) -> None:
        await outcome_of(self.until_failure())
        self.record.note(ready=False)
        self.on_change(False)
        self.output.write(FAILED)


@dataclass(eq=False)
class Eventually:
    """Waits ``interval`` s and probes, repeatedly, until a probe succeeds.

    ``timeout`` is in s; 0 means none. It counts from ``elapsed`` s ago, and is checked only after a failed
    probe, whose error is then the step's error. Every probe is a new step.
    """

    probe: Callable[[], Step]
    _: KW_ONLY
    interval: float
    timeout: float
    elapsed: float
    clock: Clock
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        self.ready.set()
        begun = self.clock.monotonic() - self.elapsed
        while True:
            await asyncio.sleep(self.interval)
            try:
                return await self.probe().run()
            except StepError:
                late = self.timeout > 0 and self.clock.monotonic() - begun > self.timeout
                if late or interrupted():
                    raise


@dataclass(eq=False)
class Consistently:
    """Waits ``interval`` s and probes, repeatedly, until a probe fails. Every probe is a new step."""

    probe: Callable[[], Step]
    _: KW_ONLY
    interval: float
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        self.ready.set()
        while not interrupted():
            await asyncio.sleep(self.interval)
            await self.probe().run()
