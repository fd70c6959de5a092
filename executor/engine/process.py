"""A process in a container, while it runs and after its end."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field

from executor.engine.fifos import ProcessFifos, StatusReader
from executor.engine.output import OutputReader
from executor.engine.proc import kill

_KILLED = 128 + signal.SIGKILL


@dataclass(eq=False, kw_only=True)
class DockerProcess:
    """A running or ended process, created by :class:`executor.engine.processes.ProcessRoom`."""

    name: str
    """Unique in its container; used for adoption after a restart."""
    pid: int
    """Host pid of the process itself."""
    child_fd: int
    parent_fd: int
    status: StatusReader
    fifos: ProcessFifos
    readers: tuple[OutputReader, OutputReader]
    ended: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self.parent_fd, self._on_exit)

    @property
    def finished(self) -> bool:
        """Whether the process has ended and its output FIFOs are closed."""
        return self._exit.done() and all(reader.closed for reader in self.readers)

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

    def abandon(self) -> None:
        """End the process after its container is gone. Waiting callers get the status of a killed process,
        once the available output is handled.
        """
        if not self.ended:
            self._on_exit()
        self.close_output()

    def close_output(self) -> None:
        """Stop reading once the available output is handled; the output of a surviving child is discarded."""
        for reader in self.readers:
            reader.drain(reader.close)

    def detach(self) -> None:
        """Stop watching, so that the next agent process can adopt the process. Waiting is cancelled."""
        if not self.ended:
            self.ended = True
            self._close_descriptors()
        self._exit.cancel()
        for reader in self.readers:
            reader.close()

    def _on_exit(self) -> None:
        self.ended = True
        self._loop.remove_reader(self.parent_fd)
        status = self.status.exit_status()
        if status is None:  # the parent was killed before its child: end the child too
            kill(self.child_fd)
            status = _KILLED
        self._close_descriptors()
        self.fifos.close()
        out, err = self.readers
        out.drain(lambda: err.drain(lambda: self._resolve(status)))

    def _resolve(self, status: int) -> None:
        if not self._exit.done():
            self._exit.set_result(status)

    def _close_descriptors(self) -> None:
        self._loop.remove_reader(self.parent_fd)
        for fd in (self.child_fd, self.parent_fd, self.status.fd):
            if fd >= 0:
                os.close(fd)
        self.child_fd = -1
