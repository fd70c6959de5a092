"""Declarative checks: a port of the container, probed by the agent itself.

Four kinds, as the stand-alone ``healthcheck`` program has them, with its texts. A probe is a coroutine
towards the container's address; no process is started. A check that fails, or is cancelled, does so the
way an app's owner knows it from a check that is a process.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from bbs.models.workload import Check
from executor.steps.base import EmittableError, StepCancelled, outlast
from executor.steps.output_wrapper import not_invoked
from executor.steps.run import MEMORY_MARK
from executor.steps.text import format_duration
from healthcheck.probe import (
    NO_INTERFACE,
    ProbeError,
    http_check,
    http_timeout_text,
    tcp_check,
    tcp_timeout_text,
)

logger = logging.getLogger(__name__)

MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a check probes. kind: ``tcp`` or ``http``. uri: HTTP only. timeout: of one probe, in s.
    interval: s between probes that are to stay good, 0 for the cell's default."""

    kind: str
    host: str
    port: int
    uri: str = ""
    timeout: float
    interval: float = 0

    async def probe(self) -> None:
        """One probe. Raises ProbeError."""
        if not self.host:
            raise ProbeError("failure to find suitable interface", NO_INTERFACE)
        if self.kind == "http":
            await http_check(self.host, self.port, self.uri, self.timeout)
        else:
            await tcp_check(self.host, self.port, self.timeout)

    @property
    def timeout_text(self) -> str:
        """What a probe says when its time is over."""
        if self.kind == "http":
            return http_timeout_text(self.uri, self.port, self.timeout)
        return tcp_timeout_text(self.host, self.port, self.timeout)


def valid_targets(checks: Iterable[Check], host: str, default_timeout: float) -> list[Target]:
    """The checks that can be made; the others are logged and left out."""
    targets = []
    for index, check in enumerate(checks):
        target = _target(check, host, default_timeout)
        if target is None:
            logger.warning("check.invalid", extra={"data": {"index": index, "check": str(check)}})
        else:
            targets.append(target)
    return targets


def _target(check: Check, host: str, default_timeout: float) -> Target | None:
    tcp, http = check.tcp_check, check.http_check
    target = None
    if tcp is not None and http is None:
        target = Target(
            kind="tcp",
            host=host,
            port=tcp.port,
            timeout=tcp.connect_timeout_ms / 1000 or default_timeout,
            interval=tcp.interval_ms / 1000,
        )
    elif http is not None and tcp is None:
        target = Target(
            kind="http",
            host=host,
            port=http.port,
            uri=http.path or "/",
            timeout=http.request_timeout_ms / 1000 or default_timeout,
            interval=http.interval_ms / 1000,
        )
    return target if target is not None and 1 <= target.port <= MAX_PORT else None


class _Check(ABC):
    """The frame of all four kinds: failures and cancellation as an app's owner sees them.

    prefix: put before the message (proxy checks). out_of_memory: whether the container had an OOM event,
    which marks every failure after it, and is all that a check has to say that was stopped.
    """

    def __init__(
        self, target: Target, *, prefix: str = "", out_of_memory: Callable[[], Awaitable[bool]]
    ) -> None:
        self._target = target
        self._prefix = prefix
        self._out_of_memory = out_of_memory
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self.ready.set()
        try:
            failure = await self._watch()
        except asyncio.CancelledError:
            marked = asyncio.create_task(self._marked())
            await outlast(marked)
            text = MEMORY_MARK.strip() if marked.result() else not_invoked(StepCancelled())
            raise EmittableError(self._prefix + text) from None
        if failure is not None:
            suffix = f"\n{MEMORY_MARK}" if await self._marked() else ""
            raise EmittableError(self._prefix + failure.strip() + suffix)

    async def _marked(self) -> bool:
        return await self._out_of_memory()

    @abstractmethod
    async def _watch(self) -> str | None:
        """Probe until there is a result: None for success, else the text of the failure."""


class StartupCheck(_Check):
    """Probes at once and then at every tick of ``interval`` s until one passes, for at most ``timeout`` s
    (0: for ever)."""

    def __init__(
        self,
        target: Target,
        *,
        interval: float,
        timeout: float,
        prefix: str = "",
        out_of_memory: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(target, prefix=prefix, out_of_memory=out_of_memory)
        self._interval = interval
        self._timeout = timeout
        self._attempts = 0
        self._last = target.timeout_text

    async def _watch(self) -> str | None:
        try:
            async with asyncio.timeout(self._timeout if self._timeout > 0 else None):
                await self._until_success()
        except TimeoutError:
            return (
                f"Timed out after {format_duration(self._timeout)} ({self._attempts} attempts)"
                f" waiting for startup check to succeed: {self._last}"
            )
        return None

    async def _until_success(self) -> None:
        loop = asyncio.get_running_loop()
        tick = loop.time()
        while True:
            self._attempts += 1
            try:
                return await self._target.probe()
            except ProbeError as error:
                self._last = str(error)
            tick = next_tick(tick, self._interval, loop.time())
            await asyncio.sleep(tick - loop.time())


def next_tick(tick: float, interval: float, now: float) -> float:
    """The tick to wait for after the one taken: a missed one is taken at once, several missed ones as one."""
    tick += interval
    if tick + interval <= now:
        tick += (now - tick) // interval * interval
    return tick


class UntilReadyCheck(_Check):
    """Probes every ``interval`` s until one passes; never fails."""

    def __init__(
        self, target: Target, *, interval: float, out_of_memory: Callable[[], Awaitable[bool]]
    ) -> None:
        super().__init__(target, out_of_memory=out_of_memory)
        self._interval = interval

    async def _watch(self) -> str | None:
        while True:
            try:
                await self._target.probe()
            except ProbeError:
                await asyncio.sleep(self._interval)
            else:
                return None


class ContinuousCheck(_Check):
    """Probes at once and every ``interval`` s until one fails; ``text`` says what that means."""

    text = "Check unsuccessful: "

    def __init__(
        self,
        target: Target,
        *,
        interval: float,
        prefix: str = "",
        out_of_memory: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(target, prefix=prefix, out_of_memory=out_of_memory)
        self._interval = interval

    async def _watch(self) -> str | None:
        while True:
            try:
                await self._target.probe()
            except ProbeError as error:
                self._failed()
                return f"{self.text}{error}"
            await asyncio.sleep(self._interval)

    def _failed(self) -> None:
        """Told of the failed probe."""


class LivenessCheck(ContinuousCheck):
    """One failed probe is the end of the instance. on_failure: hears the kind of the failed check."""

    text = "Liveness check unsuccessful: "

    def __init__(
        self,
        target: Target,
        *,
        interval: float,
        on_failure: Callable[[str], None],
        prefix: str = "",
        out_of_memory: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(target, interval=interval, prefix=prefix, out_of_memory=out_of_memory)
        self._on_failure = on_failure

    def _failed(self) -> None:
        self._on_failure(self._target.kind)


class ReadinessCheck(ContinuousCheck):
    """One failed probe takes the instance out of the routes."""

    text = "Readiness check unsuccessful: "
