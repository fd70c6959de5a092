"""A process in a container, while it runs and after its end.

A pidfd of the process reports its end. Its parent then sends the status and waits: it holds the output FIFOs
until the agent acknowledges the status. So output and status are never in the agent's memory alone. A durable
process keeps its folder, with its exit status, until :meth:`DockerProcess.release`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from common.failpoints import failpoint
from executor.engine.fifos import ProcessFifos, StatusReader
from executor.engine.output import OutputReader
from executor.engine.proc import kill

logger = logging.getLogger(__name__)

KILLED = 128 + signal.SIGKILL


@dataclass(eq=False, kw_only=True)
class DockerProcess:
    """A running or ended process, created by :class:`executor.engine.processes.Processes`.

    child_fd, parent_fd: pidfds; -1 for a child that has ended.
    durable: whether its folder stays until :meth:`release`, for adoption after a restart.
    """

    name: str
    """Unique in its container; used for adoption after a restart."""
    pid: int
    """Host pid of the process itself."""
    child_fd: int
    parent_fd: int
    status: StatusReader
    fifos: ProcessFifos
    readers: tuple[OutputReader, OutputReader]
    durable: bool = False
    ended: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._settled = False
        self._loop.add_reader(self.parent_fd, self._on_parent_exit)
        if self.child_fd >= 0:
            self._loop.add_reader(self.child_fd, self._on_exit)
        else:
            self._on_exit()

    @property
    def finished(self) -> bool:
        """Whether the process and its parent have ended and its output FIFOs are closed."""
        return self._exit.done() and self.parent_fd < 0 and all(reader.closed for reader in self.readers)

    async def wait(self) -> int:
        """Exit status 0-255, 128+n for death by signal n. Any number of callers may wait."""
        return await asyncio.shield(self._exit)

    async def signal(self, signum: int) -> None:
        """Send ``signum`` to the process itself. An ended process is no error."""
        if self.child_fd >= 0:
            try:
                signal.pidfd_send_signal(self.child_fd, signum)
            except ProcessLookupError:
                return

    async def release(self) -> None:
        """Remove the folder of an ended durable process: its end is stored elsewhere."""
        self.durable = False
        if self._settled:
            self.fifos.remove()

    def abandon(self) -> None:
        """End the process after its container is gone. Waiting callers get the status of a killed process,
        once the available output is handled.
        """
        if self._settled:
            self._close_parent()
        elif self.parent_fd >= 0:  # else its end is known, and its output is being handled
            self._on_parent_exit()
        self.close_output()

    def close_output(self) -> None:
        """Stop reading once the available output is handled; the output of a surviving child is discarded."""
        for reader in self.readers:
            reader.drain(reader.close)

    def detach(self) -> None:
        """Stop watching, so that the next agent process can adopt the process. Waiting is cancelled."""
        self.ended = self._settled = True
        self._close_child()
        self._close_parent()
        self._exit.cancel()
        for reader in self.readers:
            reader.detach()

    def _on_exit(self) -> None:
        """The process has ended: handle its output, then read the status that its parent sends."""
        self.ended = True
        self._close_child()
        self._drained(self._expect_status)

    def _expect_status(self) -> None:
        if self._settled or self.status.fd < 0:
            return
        try:
            self.fifos.hold_status()
        except OSError:
            logger.warning("exit-status-not-held", extra={"data": {"pid": self.pid}})
        self._loop.add_reader(self.status.fd, self._on_status)
        # The start of a short program may have read the status already. Its parent repeats it only if it
        # opened `go` before the agent closed that.
        self._on_status()

    def _on_status(self) -> None:
        status = self.status.exit_status()
        if status is not None or self.status.spoiled:  # a spoiled status harms only the app itself
            self._settle(KILLED if status is None else status)

    def _on_parent_exit(self) -> None:
        """The parent has ended: after the acknowledgement, or because it was killed."""
        if self._settled:
            self._close_parent()
            return
        self.ended = True
        status = self.status.exit_status()
        if status is None:  # the parent was killed before its child: end the child too
            kill(self.child_fd)
            status = KILLED
        self._close_child()
        self._close_parent()
        self._drained(lambda: self._settle(status))

    def _settle(self, status: int) -> None:
        """Store the status, acknowledge it to the parent, and report it."""
        if self._settled:
            return
        self._settled = True
        if self.status.fd >= 0:  # open until the parent ends: it may be about to repeat its status
            self._loop.remove_reader(self.status.fd)
        try:
            if self.durable:
                self.fifos.write_status(status)
                failpoint("process.exit.stored")
            if self.parent_fd >= 0:
                self.fifos.acknowledge()
                failpoint("process.exit.acknowledged")
        except OSError as error:  # the container is gone, or the disk is full
            logger.warning("exit-not-stored", exc_info=error, extra={"data": {"pid": self.pid}})
        if not self.durable:
            self.fifos.remove()
        if self.parent_fd < 0:
            self.fifos.close_descriptors()
        if not self._exit.done():
            self._exit.set_result(status)

    def _drained(self, then: Callable[[], None]) -> None:
        out, err = self.readers
        out.drain(lambda: err.drain(then))

    def _close_child(self) -> None:
        if self.child_fd >= 0:
            self._loop.remove_reader(self.child_fd)
            os.close(self.child_fd)
            self.child_fd = -1

    def _close_parent(self) -> None:
        if self.parent_fd >= 0:
            self._loop.remove_reader(self.parent_fd)
            self._loop.remove_reader(self.status.fd)
            os.close(self.parent_fd)
            self.status.close()
            self.fifos.close_descriptors()
            self.parent_fd = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedProcess:
    """A durable process that ended, with its output handled, under a previous agent process."""

    name: str
    pid: int
    status: int
    fifos: ProcessFifos

    async def wait(self) -> int:
        """The exit status, at once."""
        return self.status

    async def signal(self, signum: int) -> None:
        """Do nothing: the process has ended."""

    async def release(self) -> None:
        """Remove the folder."""
        self.fifos.remove()
