"""Declarative checks: the agent probes a port of the container.

The four kinds and their texts are those of the stand-alone ``healthcheck`` program. A probe is a coroutine
with a socket in the container's network; it starts no process. A failed or cancelled check reports the same
text as a check that runs as a process.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field

from bbs.models.workload import Check, HTTPCheck, TCPCheck
from common.gotext import format_seconds
from executor.steps.base import EmittableError, StepCancelled, outlast
from executor.steps.output_wrapper import not_invoked
from executor.steps.run import MEMORY_MARK
from executor.steps.throttle import Turns
from healthcheck.probe import (
    NO_INTERFACE,
    OpenSocket,
    ProbeError,
    ProbeNotMade,
    http_check,
    http_timeout_text,
    tcp_check,
    tcp_timeout_text,
)

logger = logging.getLogger(__name__)

MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target of a check.

    kind: ``tcp`` or ``http``. uri: HTTP only. timeout: s per probe. interval: s between liveness or readiness
    probes; 0: the cell's default. open_socket: opens a socket in the container's network. turns: shared by
    all probes of the container.
    """

    kind: str
    host: str
    port: int
    uri: str = ""
    timeout: float
    interval: float = 0
    open_socket: OpenSocket
    turns: Turns

    async def probe(self) -> bool:
        """Run one probe as soon as the container has a turn. Raises ProbeError if it fails.

        Returns False if the agent could not run the probe, for example because descriptors ran out. This is
        logged and does not count as a failure of the app.
        """
        if not self.host:
            raise ProbeError("failure to find suitable interface", NO_INTERFACE)
        async with self.turns:
            try:
                if self.kind == "http":
                    await http_check(self.host, self.port, self.uri, self.timeout, self.open_socket)
                else:
                    await tcp_check(self.host, self.port, self.timeout, self.open_socket)
            except ProbeNotMade as error:
                data = {"address": self.host, "port": self.port, "error": str(error)}
                logger.error("check.probe-not-made", extra={"data": data})
                return False
        return True

    @property
    def timeout_text(self) -> str:
        """The error text of a probe that timed out."""
        if self.kind == "http":
            return http_timeout_text(self.uri, self.port, self.timeout)
        return tcp_timeout_text(self.host, self.port, self.timeout)


def valid_checks(checks: Iterable[Check]) -> list[TCPCheck | HTTPCheck]:
    """The valid checks; invalid ones are logged and skipped."""
    valid = []
    for index, check in enumerate(checks):
        kinds = [kind for kind in (check.tcp_check, check.http_check) if kind is not None]
        if len(kinds) == 1 and 1 <= kinds[0].port <= MAX_PORT:
            valid.append(kinds[0])
        else:
            logger.warning("check.invalid", extra={"data": {"index": index, "check": str(check)}})
    return valid


def targets_of(
    checks: Iterable[Check], host: str, default_timeout: float, open_socket: OpenSocket, turns: Turns
) -> list[Target]:
    """The targets of the valid checks. default_timeout: s, for checks without a timeout."""
    targets = []
    for check in valid_checks(checks):
        if isinstance(check, HTTPCheck):
            kind, uri, timeout_ms = "http", check.path or "/", check.request_timeout_ms
        else:
            kind, uri, timeout_ms = "tcp", "", check.connect_timeout_ms
        targets.append(
            Target(
                kind=kind,
                host=host,
                port=check.port,
                uri=uri,
                timeout=timeout_ms / 1000 or default_timeout,
                interval=check.interval_ms / 1000,
                open_socket=open_socket,
                turns=turns,
            )
        )
    return targets


@dataclass(eq=False)
class _Check(ABC):
    """Base of the four kinds: formats failures and cancellation for the app's owner.

    interval: s between probes. out_of_memory: whether the container had an OOM event. In that case every
    failure carries the OOM mark, and a cancelled check reports only the mark.
    """

    target: Target
    _: KW_ONLY
    interval: float
    out_of_memory: Callable[[], Awaitable[bool]]
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        self.ready.set()
        try:
            failure = await self._watch()
        except asyncio.CancelledError:
            marked = asyncio.ensure_future(self.out_of_memory())
            await outlast(marked)
            text = MEMORY_MARK.strip() if marked.result() else not_invoked(StepCancelled())
            raise EmittableError(text) from None
        if failure is not None:
            suffix = f"\n{MEMORY_MARK}" if await self.out_of_memory() else ""
            raise EmittableError(failure.strip() + suffix)

    @abstractmethod
    async def _watch(self) -> str | None:
        """Probe until there is a result: None for success, otherwise the failure text."""


@dataclass(eq=False)
class StartupCheck(_Check):
    """Probes at once and then every ``interval`` s until one passes, for at most ``timeout`` s (0:
    unlimited), counted from ``elapsed`` s ago."""

    _: KW_ONLY
    timeout: float
    elapsed: float = 0.0
    attempts: int = field(default=0, init=False)
    last: str = field(default="", init=False)

    async def _watch(self) -> str | None:
        try:
            limit = max(0.0, self.timeout - self.elapsed) if self.timeout > 0 else None
            async with asyncio.timeout(limit):
                await self._until_success()
        except TimeoutError:
            return (
                f"Timed out after {format_seconds(self.timeout)} ({self.attempts} attempts)"
                f" waiting for startup check to succeed: {self.last or self.target.timeout_text}"
            )
        return None

    async def _until_success(self) -> None:
        loop = asyncio.get_running_loop()
        tick = loop.time()
        while True:
            self.attempts += 1
            try:
                if await self.target.probe():
                    return
            except ProbeError as error:
                self.last = str(error)
            tick = next_tick(tick, self.interval, loop.time())
            await asyncio.sleep(tick - loop.time())


def next_tick(tick: float, interval: float, now: float) -> float:
    """The next tick: a missed tick is due at once, several missed ticks count as one."""
    tick += interval
    if tick + interval <= now:
        tick += (now - tick) // interval * interval
    return tick


class UntilReadyCheck(_Check):
    """Probes every ``interval`` s until one passes; never fails."""

    async def _watch(self) -> str | None:
        while True:
            with suppress(ProbeError):
                if await self.target.probe():
                    return None
            await asyncio.sleep(self.interval)


class ContinuousCheck(_Check):
    """Probes at once and then every ``interval`` s until one fails; ``text`` precedes the failure."""

    text = "Check unsuccessful: "

    async def _watch(self) -> str | None:
        while True:
            try:
                await self.target.probe()
            except ProbeError as error:
                self._failed()
                return f"{self.text}{error}"
            await asyncio.sleep(self.interval)

    def _failed(self) -> None:
        """Hook for a failed probe."""


@dataclass(eq=False)
class LivenessCheck(ContinuousCheck):
    """Ends the instance at the first failed probe. on_failure: called with the kind of the failed check."""

    _: KW_ONLY
    on_failure: Callable[[str], None]
    text = "Liveness check unsuccessful: "

    def _failed(self) -> None:
        self.on_failure(self.target.kind)


class ReadinessCheck(ContinuousCheck):
    """Makes the instance unroutable at the first failed probe."""

    text = "Readiness check unsuccessful: "
