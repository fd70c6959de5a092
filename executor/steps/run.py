"""Run: one process, from its start to its last byte of output."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass

from executor.engine.api import Engine, EngineContainer, Process, ProcessSpec
from executor.errors import EngineError
from executor.logs.api import Output
from executor.steps.base import (
    EmittableError,
    ExceededGracefulShutdownInterval,
    ExitTimeout,
    StepCancelled,
    StepError,
    outlast,
)
from executor.steps.text import format_duration
from executor.steps.trace import Facts

logger = logging.getLogger(__name__)

MEMORY_MARK = " (out of memory)"
"""Put behind the end of a process in a container that had an OOM event."""
EXIT_TIMEOUT_SECONDS = 1.0
"""How long a process may take to be gone after KILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a Run step treats its process.

    source: effective log source, named in the error. graceful_shutdown_interval: s from TERM to KILL.
    suppress_exit_status: the exit is neither logged nor named in the error (probes).
    """

    source: str
    graceful_shutdown_interval: float
    suppress_exit_status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended, and what had been done to it."""

    status: int
    interrupted: bool = False
    killed: bool = False
    out_of_memory: bool = False


def exit_log_line(exit_: Exit, options: RunOptions) -> str:
    """What the app's log says about the end of the process; may be empty."""
    line = "" if options.suppress_exit_status else f"Exit status {exit_.status}"
    if exit_.killed:
        interval = format_duration(options.graceful_shutdown_interval)
        line += f" (exceeded {interval} graceful shutdown interval)"
    return line + _memory_suffix(exit_)


def exit_error(exit_: Exit, options: RunOptions) -> StepError | None:
    """What the step fails with; the first reason that holds."""
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


class Run:
    """Starts a process and waits for its end. Ready once it has been started.

    The output of a process whose log is suppressed is one that drops everything.

    An interrupt while the engine starts it ends the step at once. Later, it gets TERM, after the graceful
    interval KILL, and a second more; further interrupts change nothing.
    """

    def __init__(
        self,
        engine: Engine,
        container: EngineContainer,
        spec: ProcessSpec,
        output: Output,
        options: RunOptions,
        facts: Facts,
    ) -> None:
        self._engine = engine
        self._container = container
        self._spec = spec
        self._output = output
        self._options = options
        self._facts = facts
        self.ready = asyncio.Event()

    async def run(self) -> None:
        process = await self._start()
        self._facts.pid = process.pid
        self.ready.set()
        ended = asyncio.create_task(process.wait())
        try:
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

    async def _start(self) -> Process:
        try:
            return await self._engine.start_process(
                self._container, self._spec, self._output.stdout, self._output.stderr
            )
        except EngineError as error:
            self._output.tell(f"failed-creating-process: {error}")
            self._output.flush()
            raise StepError(str(error)) from error

    async def _terminate(self, process: Process, ended: asyncio.Task[int]) -> StepError | None:
        """TERM, wait, KILL, wait: the process is gone, or we give it up."""
        gone = await self._signal(process, ended, signal.SIGTERM, self._options.graceful_shutdown_interval)
        killed = not gone
        if killed and not await self._signal(process, ended, signal.SIGKILL, EXIT_TIMEOUT_SECONDS):
            ended.cancel()
            await outlast(ended)
            return ExitTimeout()
        return await self._close(ended, interrupted=True, killed=killed)

    async def _signal(
        self, process: Process, ended: asyncio.Task[int], signum: signal.Signals, seconds: float
    ) -> bool:
        """Send a signal and wait; whether the process ended in time. A signal lost is as one ignored."""
        try:
            async with asyncio.timeout(seconds):
                await process.signal(signum)
                await asyncio.wait({ended})
        except TimeoutError:
            pass
        except EngineError as error:
            data = {"guid": self._container.guid, "pid": process.pid, "error": str(error)}
            logger.warning("run.failed-to-signal", extra={"data": {"signal": signum.name, **data}})
            await asyncio.wait({ended}, timeout=seconds)
        return ended.done()

    async def _close(
        self, ended: asyncio.Task[int], *, interrupted: bool = False, killed: bool = False
    ) -> StepError | None:
        """The last line of the log, and what the step ends with."""
        try:
            status = ended.result()
        except EngineError as error:
            self._output.flush()
            return StepError(str(error))
        self._facts.exit_status = status
        exit_ = Exit(
            status=status,
            interrupted=interrupted,
            killed=killed,
            out_of_memory=status != 0 and await out_of_memory(self._engine, self._container),
        )
        self._output.tell(exit_log_line(exit_, self._options))
        self._output.flush()
        return exit_error(exit_, self._options)


async def out_of_memory(engine: Engine, container: EngineContainer) -> bool:
    """Whether the container had an OOM event; an engine that cannot say counts as no."""
    try:
        return await engine.out_of_memory(container)
    except EngineError as error:
        data = {"guid": container.guid, "error": str(error)}
        logger.warning("run.failed-to-ask-for-oom", extra={"data": data})
        return False
