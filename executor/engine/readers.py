"""The readers of a process's output, through spools if it is durable."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence

from executor.engine.api import DurableHandler, OutputHandler
from executor.engine.output import OutputReader, OutputTurns
from executor.engine.spool import Spool
from executor.engine.spools import Spools

logger = logging.getLogger(__name__)

STREAMS = ("out", "err")
"""Names of the FIFOs and of the spools."""


class OutputReaders:
    """Creates the readers of a cell's processes. Without ``spools``, output is read directly."""

    def __init__(self, spools: Spools | None = None) -> None:
        self._spools = spools
        self._turns = OutputTurns()

    def start(
        self, owner: str, fifos: Sequence[int], handlers: Sequence[OutputHandler], process: str = ""
    ) -> tuple[OutputReader, OutputReader]:
        """Readers of a new process. process: its name if it is durable."""
        out, err = (
            OutputReader(fifo, handler, self._turns, owner, self._new_spool(owner, process, stream, handler))
            for fifo, handler, stream in zip(fifos, handlers, STREAMS, strict=True)
        )
        return out, err

    def resume(
        self, owner: str, fifos: Sequence[int], handlers: Sequence[OutputHandler], process: str
    ) -> tuple[OutputReader, OutputReader]:
        """Readers of an adopted process: first what its spools still hold, then its FIFOs."""
        out, err = (
            OutputReader(
                fifo,
                handler,
                self._turns,
                owner,
                self._old_spool(owner, process, stream, handler)
                or self._new_spool(owner, process, stream, handler),
            )
            for fifo, handler, stream in zip(fifos, handlers, STREAMS, strict=True)
        )
        return out, err

    async def finish(self, owner: str, handlers: Sequence[OutputHandler], process: str) -> None:
        """Handle what the spools of an ended process still hold."""
        readers = []
        for handler, stream in zip(handlers, STREAMS, strict=True):
            if spool := self._old_spool(owner, process, stream, handler):
                readers.append(OutputReader(_ended_fifo(), handler, self._turns, owner, spool))
        for reader in readers:
            handled = asyncio.Event()
            reader.drain(handled.set)
            await handled.wait()

    def _new_spool(self, owner: str, process: str, stream: str, handler: OutputHandler) -> Spool | None:
        if self._spools is None or not process or not isinstance(handler, DurableHandler):
            return None
        try:
            return self._spools.create(owner, process, stream, handler.labels())
        except OSError as error:
            _report_unusable(owner, process, error)
            return None

    def _old_spool(self, owner: str, process: str, stream: str, handler: OutputHandler) -> Spool | None:
        if self._spools is None or not isinstance(handler, DurableHandler):
            return None
        try:
            return self._spools.resume(owner, process, stream)
        except OSError as error:
            _report_unusable(owner, process, error)
            return None


def _report_unusable(owner: str, process: str, error: OSError) -> None:
    """Log that output goes without a spool: the app must not suffer from the cell's disk."""
    data = {"guid": owner, "process": process, "error": str(error)}
    logger.warning("output-spool.unusable", extra={"data": data})


def _ended_fifo() -> int:
    """A FIFO at its end."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.close(writing)
    return reading
