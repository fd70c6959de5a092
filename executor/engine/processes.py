"""Processes in containers: start, output, signals and exit, without open connections to the engine.

:mod:`executor.engine.parent` describes what runs in the container. A pidfd of the parent, watched by the
event loop, reports the exit. Signals go to the child by its own pidfd. An engine restart does not affect the
agent.
"""

from __future__ import annotations

import itertools
import logging
import os
import resource
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.engine.api import EngineContainer, OutputHandler, ProcessSpec
from executor.engine.client import EngineClient
from executor.engine.fifos import PidFile, ProcessFifos, StatusReader
from executor.engine.parent import is_waiting
from executor.engine.proc import command_line, kill, start_of
from executor.engine.process import KILLED, DockerProcess, EndedProcess
from executor.engine.processstart import ProcessStarter
from executor.engine.readers import OutputReaders
from executor.errors import ProcessStartError
from executor.places import FairPlaces

logger = logging.getLogger(__name__)

SURVIVORS_MOST = 4
"""Ended processes per container whose output FIFOs a surviving child still holds. Each costs two descriptors.
Beyond the limit the earliest is closed.
"""

STARTS_MOST = 8
"""Concurrent process starts per container; further starts wait."""

DESCRIPTORS = 7
"""Descriptors of a running process: two pidfds, status, output and error output, and their spools."""


@dataclass(frozen=True, slots=True)
class _Held:
    """Pidfds of a parent and its child; -1 for one that has ended."""

    parent: int
    child: int

    @classmethod
    def of(cls, pids: PidFile) -> _Held:
        """The processes of a pid file, unless others have their pids now."""
        parent = _same_process(pids.parent, pids.parent_start)
        return cls(parent, _same_process(pids.child, pids.child_start))

    def kill(self) -> None:
        """Kill both and close the descriptors."""
        kill(self.child)
        kill(self.parent)
        self.close()

    def close(self) -> None:
        for fd in (self.parent, self.child):
            if fd >= 0:
                os.close(fd)


def processes_most() -> int:
    """Maximum number of processes of one container: they hold half of the cell's descriptor limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft // 2 // DESCRIPTORS)


class Processes:
    """Starts processes and keeps them per container until the container is destroyed."""

    def __init__(self, client: EngineClient, io_dir: Callable[[str], Path], outputs: OutputReaders) -> None:
        """``io_dir``: maps a guid to the host directory that its container sees as its io directory."""
        self._starter = ProcessStarter(client, io_dir, outputs)
        self._io_dir = io_dir
        self._processes: dict[str, list[DockerProcess]] = {}
        self._outputs = outputs
        self._starting = FairPlaces(sys.maxsize, most=STARTS_MOST)
        self._names = itertools.count(1)
        self._life = f"{os.getpid()}-{os.urandom(4).hex()}"

    async def start(
        self,
        container: EngineContainer,
        proc_fd: int,
        spec: ProcessSpec,
        stdout: OutputHandler,
        stderr: OutputHandler,
        name: str = "",
    ) -> DockerProcess:
        """Start a process. Raises ProcessStartError, ContainerGone or another EngineError.

        A cancelled start leaves no process: the child executes its program only after its pids are stored.
        name: makes the process durable; see :meth:`adopt`.
        """
        async with self._starting.of(container.guid):
            self._refuse_too_many(container.guid)
            durable = bool(name)
            name = name or f"{self._life}-{next(self._names)}"
            process = await self._starter.start(
                container, proc_fd, spec, (stdout, stderr), name, durable=durable
            )
            return self._kept(container.guid, process)

    def adopt(
        self, guid: str, name: str, stdout: OutputHandler, stderr: OutputHandler
    ) -> DockerProcess | EndedProcess | None:
        """Take over the durable process ``name`` of a previous agent process in container ``guid``.

        Its unread output and its exit status are kept. A process that was killed together with its parent has
        the status of a killed one. None: it never executed its program, so it can be started.
        """
        directory = self._io_dir(guid) / name
        fifos = ProcessFifos(directory)
        try:
            return self._adopt(guid, name, fifos, stdout, stderr)
        except (OSError, ValueError) as error:
            data = {"guid": guid, "process": name, "error": str(error)}
            logger.warning("process-lost", extra={"data": data})
            fifos.close()
            return EndedProcess(name=name, pid=0, status=KILLED, fifos=fifos)

    def sweep(self, guid: str, keep: Collection[str]) -> None:
        """End the processes that a previous agent process started in container ``guid``, but for ``keep``.

        Such are probes, and steps that ended without their release. Raises OSError.
        """
        mine = {process.name for process in self._processes.get(guid, ())}
        with suppress(FileNotFoundError):
            for directory in sorted(self._io_dir(guid).iterdir()):
                if directory.name not in mine and directory.name not in keep:
                    logger.info("process-swept", extra={"data": {"guid": guid, "process": directory.name}})
                    fifos = ProcessFifos(directory)
                    with suppress(FileNotFoundError, ValueError):  # killed before its pids were stored
                        _Held.of(fifos.read_pids()).kill()
                    fifos.give_up()

    def _adopt(
        self, guid: str, name: str, fifos: ProcessFifos, stdout: OutputHandler, stderr: OutputHandler
    ) -> DockerProcess | EndedProcess | None:
        if not fifos.exists:
            return None
        try:
            pids = fifos.read_pids()
        except FileNotFoundError:  # killed before the child could be let go
            fifos.give_up()
            return None
        held = _Held.of(pids)
        try:
            status = fifos.read_status()
            if status is not None:  # its output is handled; the parent waits for nothing else
                held.kill()
                return EndedProcess(name=name, pid=pids.child, status=status, fifos=fifos)
            if held.child >= 0 and is_waiting(command_line(pids.child)):
                held.kill()
                fifos.give_up()
                return None
            if held.parent < 0:  # its child ends, too: nothing reports its exit status
                raise ProcessLookupError(f"its parent {pids.parent} is gone")
            fifos.open_again()
            if held.child < 0:
                fifos.repeat_status()
        except OSError:  # its exit status is lost: it ends
            held.kill()
            raise
        process = DockerProcess(
            name=name,
            pid=pids.child,
            child_fd=held.child,
            parent_fd=held.parent,
            status=StatusReader(fifos.take("status")),
            fifos=fifos,
            readers=self._outputs.resume(
                guid, (fifos.take("out"), fifos.take("err")), (stdout, stderr), name
            ),
            durable=True,
        )
        return self._kept(guid, process)

    def _refuse_too_many(self, guid: str) -> None:
        """Raises ProcessStartError if the container has used up its share of the descriptors."""
        most = processes_most()
        if len(self._processes.get(guid, ())) >= most and len(self._unfinished(guid)) >= most:
            raise ProcessStartError(f"too many processes: this container runs {most}, as many as it may")

    def _unfinished(self, guid: str) -> list[DockerProcess]:
        mine = self._processes.setdefault(guid, [])
        mine[:] = [each for each in mine if not each.finished]
        return mine

    def _kept(self, guid: str, process: DockerProcess) -> DockerProcess:
        mine = self._unfinished(guid)
        survived = [each for each in mine if each.ended]
        for each in survived[: max(0, len(survived) - SURVIVORS_MOST)]:
            each.close_output()
        mine.append(process)
        return process

    def forget(self, guid: str) -> None:
        """Drop the processes of the destroyed container ``guid``."""
        for process in self._processes.pop(guid, []):
            process.abandon()

    def close(self) -> None:
        """Stop watching all processes; they keep running."""
        self._starter.closed = True
        for processes in self._processes.values():
            for process in processes:
                process.detach()
        self._processes.clear()


def _same_process(pid: int, start: int) -> int:
    """A pidfd of the process that started at ``start``; -1 if it has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    try:
        if start_of(pid) == start:
            return fd
    except (FileNotFoundError, ProcessLookupError):  # it ends just now
        logger.debug("process-ended", extra={"data": {"pid": pid}})
    os.close(fd)
    return -1
