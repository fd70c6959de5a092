"""Engine health check: creates a container, runs a process in it and destroys it.

The probe uses the same engine with a separate owner name, so its containers are never mistaken for workloads.
Without a probe image the check only pings the engine. Between two checks a ping every few seconds notices an
engine that does not answer; when it answers again, the next check follows at once.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TypeVar

from tenacity import RetryCallState, retry_if_exception_type

from bbs.backoff import Backoff
from common.liveness import Liveness
from executor.config import ExecutorConfig
from executor.engine.api import ContainerSpec, Engine, ProcessSpec
from executor.errors import EngineError
from executor.telemetry.meter import Meter

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Attempts per engine call."""

ABANDON_TIMEOUT_S = 10.0
"""Time limit for the removal of an interrupted check's probe container."""

CHECK_PREFIX = "check-"
"""Beginning of the guids of check containers; the guids of instances are those of the control plane."""

PING_INTERVAL_S = 2.0
"""Pause between pings."""

PING_LIMIT_S = 10.0
"""Time for the answer to a ping on a busy machine."""

SILENCE_LIMIT_S = 300.0
"""Longest time without an answer, nor a refusal, before a watchdog restarts the cell: its client may hang."""

T = TypeVar("T")


class EngineHealth:
    """The health flag and the loop that updates it."""

    def __init__(
        self, config: ExecutorConfig, probe_engine: Engine, meter: Meter, liveness: Liveness | None = None
    ) -> None:
        self._config = config
        self._engine = probe_engine
        self._meter = meter
        self._liveness = liveness or Liveness()
        self._healthy = True
        self._probe = ""
        self._due = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Result of the last check; true before the first one."""
        return self._healthy

    async def run(self) -> None:
        """Check periodically. Raises EngineError if no first check passes within the time limit."""
        try:
            await self._first_success()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._emit())
                group.create_task(self._ping())
                while True:
                    await self._until_due()
                    await self._periodic()
        finally:
            await self._abandon_probe()

    async def check(self) -> None:
        """Run one check. Raises EngineError."""
        if not self._config.sidecar_root_fs:
            await self._insistently(self._engine.ping)
            return
        await self._destroy_probes()
        spec = ContainerSpec(
            guid=f"{CHECK_PREFIX}{uuid.uuid4()}",
            root_fs=self._config.sidecar_root_fs,
            labels={"tag:healthcheck-tag": "healthcheck", "network.healthcheck": "true"},
        )
        self._probe = spec.guid
        container = await self._insistently(lambda: self._engine.create(spec))
        process = await self._insistently(
            lambda: self._engine.start_process(container, self._process(), _ignore, _ignore)
        )
        status = await process.wait()
        if status != 0:
            raise EngineError(f"Healthcheck exited with {status}")
        await self._insistently(lambda: self._engine.destroy(spec.guid))
        self._probe = ""

    def _process(self) -> ProcessSpec:
        config = self._config
        return ProcessSpec(
            path=config.garden_healthcheck_process_path,
            args=config.garden_healthcheck_process_args,
            dir=config.garden_healthcheck_process_dir or "/",
            env=config.garden_healthcheck_process_env,
            user=config.garden_healthcheck_process_user,
        )

    async def _first_success(self) -> None:
        try:
            async with asyncio.timeout(self._config.garden_healthcheck_timeout_s):
                while True:
                    if await self._passes():
                        return
                    await asyncio.sleep(self._config.garden_healthcheck_command_retry_pause_s)
        except TimeoutError:
            self._note_timeout()
            await self._abandon_probe()
            raise EngineError("garden healthcheck timed out") from None

    async def _until_due(self) -> None:
        try:
            async with asyncio.timeout(self._config.garden_healthcheck_interval_s):
                await self._due.wait()
        except TimeoutError:
            return
        finally:
            self._due.clear()

    async def _periodic(self) -> None:
        limit_s = self._config.garden_healthcheck_timeout_s
        if not await self._ends_within(limit_s, self._passes(), self._note_timeout):
            await self._abandon_probe()

    async def _ping(self) -> None:
        answered = True
        with self._liveness.loop("engine", SILENCE_LIMIT_S) as turned:
            while True:
                await asyncio.sleep(PING_INTERVAL_S)
                answers = await self._answers(turned)
                if answers and not answered:
                    self._due.set()
                answered = answers

    async def _answers(self, reacted: Callable[[], None]) -> bool:
        """Whether the engine answers a ping; the cell is unhealthy as soon as it does not.

        reacted: called also for an error, such as that of an engine which does not run: a restart of the cell
        does not help against it.
        """
        answer = asyncio.Event()

        async def ping() -> None:
            try:
                await self._engine.ping()
            except EngineError as error:
                self._note_silence(str(error))
            else:
                answer.set()
            reacted()

        late = partial(self._note_silence, f"no answer within {PING_LIMIT_S:g} s")
        return await self._ends_within(PING_LIMIT_S, ping(), late) and answer.is_set()

    def _note_silence(self, error: str) -> None:
        log.error("engine-does-not-answer", extra={"data": {"error": error}})
        self._set(healthy=False)

    async def _ends_within(
        self, limit_s: float, work: Coroutine[object, object, object], late: Callable[[], object]
    ) -> bool:
        """Do the work, or cancel it after a time; ``late`` is called before that.

        The cancellation of a call waits for its end, which an engine that hangs delays.
        """
        async with asyncio.TaskGroup() as group:
            doing = group.create_task(work)
            await asyncio.wait({doing}, timeout=limit_s)
            in_time = doing.done()
            if not in_time:
                late()
                doing.cancel()
        return in_time

    async def _passes(self) -> bool:
        try:
            await self.check()
        except EngineError as error:
            log.error("failed-health-check", extra={"data": {"error": str(error)}})
            self._set(healthy=False)
        except Exception as error:  # whatever fails, the engine is not usable
            log.error("failed-health-check", exc_info=error, extra={"data": {"error": str(error)}})
            self._set(healthy=False)
        else:
            self._set(healthy=True)
        return self._healthy

    def _note_timeout(self) -> None:
        log.error(
            "health-check-timed-out", extra={"data": {"timeout_s": self._config.garden_healthcheck_timeout_s}}
        )
        self._set(healthy=False)
        self._meter.gauge("CellUnhealthy", 1)

    async def _abandon_probe(self) -> None:
        """Remove the probe container of an interrupted check; on failure the next check removes it."""
        if not self._probe:
            return
        guid, self._probe = self._probe, ""
        try:
            async with asyncio.timeout(ABANDON_TIMEOUT_S):
                await self._engine.destroy(guid)
        except (EngineError, TimeoutError) as error:
            log.error("failed-to-remove-probe", extra={"data": {"guid": guid, "error": str(error)}})

    async def _destroy_probes(self) -> None:
        for guid in await self._insistently(self._engine.list_guids):
            await self._insistently(partial(self._engine.destroy, guid))

    async def _insistently(self, call: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff(attempts=ATTEMPTS, first_s=self._config.garden_healthcheck_command_retry_pause_s)
        retrying = backoff.retrying(retry_if_exception_type(EngineError), before_sleep=_log_retry)

        async def attempt() -> T:
            return await call()

        answer: T = await retrying(attempt)
        return answer

    async def _emit(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(self._config.garden_healthcheck_emission_interval_s)

    def _set(self, *, healthy: bool) -> None:
        if healthy != self._healthy:
            log.info("engine-health-changed", extra={"data": {"healthy": healthy}})
        self._healthy = healthy
        self._report()

    def _report(self) -> None:
        self._meter.gauge("GardenHealthCheckFailed", 0 if self._healthy else 1)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.info("retrying-engine-call", extra={"data": {"error": str(error)}})


def _ignore(data: bytes) -> None:
    """Discard the output of the probe."""
