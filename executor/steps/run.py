"""Run: one process, from its start to the end of its output."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass, field

from common.gotext import format_seconds
from executor.engine.api import Process, ProcessSpec
from executor.errors import EngineError, ExecutorError
from executor.logs.api import Output
from executor.steps.base import (
    EmittableError,
    ExceededGracefulShutdownInterval,
    ExitTimeout,
    StepCancelled,
    StepError,
    interrupted,
    outlast,
)
from executor.steps.context import StepContext
from executor.steps.trace import Node

logger = logging.getLogger(__name__)

MEMORY_MARK = " (out of memory)"
"""Appended to the exit message of a process in a container that had an OOM event."""
EXIT_TIMEOUT_SECONDS = 1.0
"""Time for a process to exit after KILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of a Run step.

    source: effective log source, used in the error text. graceful_shutdown_interval: s from TERM to KILL.
    suppress_exit_status: omit the exit status from the log and the error (probes).
    """

    source: str
    graceful_shutdown_interval: float
    suppress_exit_status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The exit of a process and the signals sent before."""

    status: int
    interrupted: bool = False
    killed: bool = False
    out_of_memory: bool = False


def exit_log_line(exit_: Exit, options: RunOptions) -> str:
    """The log line about the exit; may be empty."""
    line = "" if options.suppress_exit_status else f"Exit status {exit_.status}"
    if exit_.killed:
        interval = format_seconds(options.graceful_shutdown_interval)
        line += f" (exceeded {interval} graceful shutdown interval)"
    return line + _memory_suffix(exit_)


def exit_error(exit_: Exit, options: RunOptions) -> StepError | None:
    """The error of the step by the first matching reason; None for success."""
    if exit_.killed:
        return ExceededGracefulShutdownInterval()
    if exit_.interrupted:
        return StepCancelled()
    if exit_.status == 0:
        return None
    message = "" if options.suppress_exit_status else f"{options.source}: Exited with status {exit_.status}"
    return EmittableError(message + _memory_suffix(exit_))


def _memory_suffix(exit_: Exit) -> str:
    return MEMORY_MARK if exit_.status != 0 and exit_.out_of_memory else ""


@dataclass(slots=True, eq=False)
class Run:
    """Starts a process and waits for its exit. Ready once the process has started.

    For suppressed logs the caller passes an output that drops everything. An interrupt during the engine's
    start of the process ends the step at once. Later, the process gets TERM, and KILL after the graceful
    shutdown interval; the step then waits one more second. Further interrupts have no effect.
    """

    spec: ProcessSpec
    options: RunOptions
    context: StepContext
    node: Node
    output: Output
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    process: Process | None = field(default=None, init=False)

    async def run(self) -> None:
        self.process = process = await self._adopt() or await self._start()
        self.context.on_process_start(self.node.path)
        self.node.facts.pid = process.pid
        self.ready.set()
        if self.context.history.replaying:  # the end of an adopted process comes after all recorded events
            await self.context.history.replayed()
        ended = asyncio.create_task(process.wait())
        try:
            if interrupted():  # before the restart of the agent
                raise asyncio.CancelledError
            await asyncio.wait({ended})
            closing = asyncio.create_task(self._close(ended))
        except asyncio.CancelledError:
            closing = asyncio.create_task(self._terminate(process, ended))
        await outlast(closing)
        error = closing.result()
        if isinstance(error, StepCancelled):
            raise asyncio.CancelledError
        if error is not None:
            raise error

    async def release(self) -> None:
        """Forget the process: its end is recorded."""
        if self.process is not None:
            await self.process.release()

    async def _adopt(self) -> Process | None:
        """The process that a previous agent process started; None without one that executed its program."""
        history, path = self.context.history, self.node.path
        if not history.resumed(path):
            return None
        process = await self.context.tools.engine.adopt_process(
            self.context.engine_container,
            history.process_name(path),
            self.output.stdout,
            self.output.stderr,
        )
        if process is None:
            await self._begin_again()
        return process

    async def _begin_again(self) -> None:
        """Record another beginning, with another name: what waits under the first one must not meet it."""
        try:
            await self.context.history.begin(self.node.path, self.context.tools.clock.monotonic())
        except ExecutorError as error:
            raise StepError(str(error)) from error

    async def _start(self) -> Process:
        name = self.context.history.process_name(self.node.path)
        try:
            return await self.context.tools.engine.start_process(
                self.context.engine_container, self.spec, self.output.stdout, self.output.stderr, name
            )
        except EngineError as error:
            self.output.write(f"failed-creating-process: {error}")
            self.output.flush()
            raise StepError(str(error)) from error

    async def _terminate(self, process: Process, ended: asyncio.Task[int]) -> StepError | None:
        """Send TERM, wait, send KILL, wait; fail if the process still runs."""
        gone = await self._signal(process, ended, signal.SIGTERM, self.options.graceful_shutdown_interval)
        killed = not gone
        if killed and not await self._signal(process, ended, signal.SIGKILL, EXIT_TIMEOUT_SECONDS):
            ended.cancel()
            await outlast(ended)
            return ExitTimeout()
        return await self._close(ended, interrupted=True, killed=killed)

    async def _signal(
        self, process: Process, ended: asyncio.Task[int], signum: signal.Signals, seconds: float
    ) -> bool:
        """Send a signal and wait; returns whether the process exited in time.

        A failed signal counts as ignored.
        """
        try:
            async with asyncio.timeout(seconds):
                await process.signal(signum)
                await asyncio.wait({ended})
        except TimeoutError:
            pass
        except EngineError as error:
            data = {"guid": self.context.engine_container.guid, "pid": process.pid, "error": str(error)}
            logger.warning("run.failed-to-signal", extra={"data": {"signal": signum.name, **data}})
            await asyncio.wait({ended}, timeout=seconds)
        return ended.done()

    async def _close(
        self, ended: asyncio.Task[int], *, interrupted: bool = False, killed: bool = False
    ) -> StepError | None:
        """Write the last log line and return the error of the step."""
        try:
            status = ended.result()
        except EngineError as error:
            self.output.flush()
            return StepError(str(error))
        self.node.facts.exit_status = status
        exit_ = Exit(
            status=status,
            interrupted=interrupted,
            killed=killed,
            out_of_memory=status != 0 and await self.context.out_of_memory(),
        )
        self.output.write(exit_log_line(exit_, self.options))
        self.output.flush()
        return exit_error(exit_, self.options)
