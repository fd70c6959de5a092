"""Processes in containers: start, output, signals and exit, without open connections to the engine.

:mod:`executor.engine.parent` describes what runs in the container. A pidfd of the parent, watched by the
event loop, reports the exit. Signals go to the child by its own pidfd. Each process takes three short
engine calls (create, start, inspect); an engine restart does not affect the agent.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docker import APIClient

from common.failpoints import failpoint
from executor.engine.api import EngineContainer, OutputHandler, ProcessSpec
from executor.engine.arguments import too_long
from executor.engine.client import EngineClient
from executor.engine.fifos import (
    PidFile,
    ProcessFifos,
    StatusReader,
    StatusSpoiled,
    readable,
)
from executor.engine.parent import is_on_its_way, is_waiting, parent_command, refusal
from executor.engine.proc import argument_bytes_of, command_line, kill, only_child, start_of
from executor.engine.process import KILLED, DockerProcess, EndedProcess
from executor.engine.readers import OutputReaders
from executor.engine.resolution import (
    ResolvedProcess,
    refused_by_kernel,
    refused_limit,
    refused_size,
    resolve,
)
from executor.engine.rootfs import Rootfs
from executor.errors import ContainerGone, EngineError, ProcessStartError
from executor.places import FairPlaces
from executor.reasons import reason_of

logger = logging.getLogger(__name__)

SURVIVORS_MOST = 4
"""Ended processes per container whose output FIFOs a surviving child still holds. Each costs two descriptors.
Beyond the limit the earliest is closed.
"""

STARTS_MOST = 8
"""Concurrent process starts per container; further starts wait."""

DESCRIPTORS = 7
"""Descriptors of a running process: two pidfds, status, output and error output, and their spools."""

START_TIMEOUT_S = 120.0
"""Time limit from the engine's answer to the execution of the program: a few ms on an idle machine. Only a
process of the same user that holds the status FIFO open makes it longer.
"""

_EXECUTION_S, _EXECUTION_MOST_S = 0.0005, 0.1
"""Pauses between checks of a program that is about to be executed. The first is longer than a system call and
too short to matter. They double, because an app can make a program whose command line equals the previous
one.
"""


@dataclass(frozen=True, slots=True)
class _Started:
    resolved: ResolvedProcess
    fifos: ProcessFifos
    parent_fd: int
    parent_pid: int
    lowered: bool


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
        self._client = client
        self._io_dir = io_dir
        self._processes: dict[str, list[DockerProcess]] = {}
        self._closed = False
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
            started = await self._exec(container, proc_fd, spec, name)
            try:
                process = await self._let_go(container, started, name, stdout, stderr, durable=durable)
            except BaseException:
                self._undo(started, durable=durable)
                raise
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

    def _undo(self, started: _Started, *, durable: bool) -> None:
        """End a partial start; leave a durable process, which may run already, to the next agent process."""
        if durable and self._closed:
            os.close(started.parent_fd)
            started.fifos.close_descriptors()
        else:
            _discard(started)

    def close(self) -> None:
        """Stop watching all processes; they keep running."""
        self._closed = True
        for processes in self._processes.values():
            for process in processes:
                process.detach()
        self._processes.clear()

    async def _exec(self, container: EngineContainer, proc_fd: int, spec: ProcessSpec, name: str) -> _Started:
        asked = f"start {spec.path} in container {container.guid}"
        made: list[_Started] = []

        def job(api: APIClient) -> None:
            with Rootfs(proc_fd) as root:
                resolved = resolve(root, spec)
                owner = root.host_ids(resolved.user.uid, resolved.user.gid)
            lowered = container.privileged and resolved.user.uid != 0
            command, environment = parent_command(resolved, name, lowered=lowered)
            inherited = (f"{name}={value}" for name, value in container.image_env)
            if too_long([*command, *environment, *inherited], argument_bytes_of(container.init_pid)):
                raise refused_size(resolved)
            fifos = ProcessFifos.make(self._io_dir(container.guid) / name, owner)
            try:
                exec_id = api.exec_create(
                    container.id,
                    command,
                    stdout=False,
                    stderr=False,
                    user="0:0" if lowered else resolved.user.exec_user,
                    environment=environment,
                    workdir=resolved.directory,
                )["Id"]
                failpoint("process.start.before")
                api.exec_start(exec_id, detach=True)
                failpoint("process.start.waiting")
                state = api.exec_inspect(exec_id)
                if not state["Running"] or not state["Pid"]:
                    raise ProcessStartError(f"{asked}: it ended before it was started")
                parent = state["Pid"]
                made.append(_Started(resolved, fifos, os.pidfd_open(parent), parent, lowered))
            except BaseException:
                fifos.close()
                raise

        try:
            await self._client.call(asked, job, owner=container.guid)
        except BaseException as error:
            for started in made:  # the start succeeded during its cancellation
                self._undo(started, durable=False)
            if isinstance(error, OSError):
                raise EngineError(f"{asked}: {reason_of(error)}") from error
            raise
        return made[0]

    async def _let_go(
        self,
        container: EngineContainer,
        started: _Started,
        name: str,
        stdout: OutputHandler,
        stderr: OutputHandler,
        *,
        durable: bool,
    ) -> DockerProcess:
        status = StatusReader(started.fifos.take("status"))
        child_fd = -1
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                if not await status.ready(started.parent_fd):
                    raise ContainerGone(f"container {container.guid}: process ended before it was started")
                pid = only_child(started.parent_pid)
                child_fd = os.pidfd_open(pid)
                parent = started.parent_pid
                started.fifos.write_pids(PidFile(parent, start_of(parent), pid, start_of(pid)))
                waiting = command_line(pid)
                failpoint("process.start.known")
                started.fifos.let_go()
                failpoint("process.start.let-go")
                if await status.failure() is not None:
                    raise refused_limit()
                await _executed(pid, child_fd, waiting, lowered=started.lowered)
            readers = self._outputs.start(
                container.guid,
                (started.fifos.take("out"), started.fifos.take("err")),
                (stdout, stderr),
                name if durable else "",
            )
            if reason := refusal(started.resolved, readers[1].peek()):
                for reader in readers:
                    reader.discard()
                raise refused_by_kernel(started.resolved, reason)
        except BaseException as error:
            os.close(status.fd)
            if child_fd >= 0:
                os.close(child_fd)
            if isinstance(error, StatusSpoiled | TimeoutError):
                raise ProcessStartError("its start was disturbed from inside the container") from error
            if isinstance(error, FileNotFoundError | ProcessLookupError):
                raise ContainerGone(
                    f"container {container.guid}: process ended while it was started"
                ) from error
            if isinstance(error, OSError):
                raise EngineError(
                    f"container {container.guid}: start of a process: {reason_of(error)}"
                ) from error
            raise
        started.fifos.close_name("go")
        return DockerProcess(
            name=name,
            pid=pid,
            child_fd=child_fd,
            parent_fd=started.parent_fd,
            status=status,
            fifos=started.fifos,
            readers=readers,
            durable=durable,
        )


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


def _discard(started: _Started) -> None:
    """Undo a partial start: kill the waiting child and its parent, remove the FIFOs."""
    try:
        os.kill(only_child(started.parent_pid), signal.SIGKILL)
    except OSError:
        logger.debug("process-start-had-no-child", extra={"data": {"parent-pid": started.parent_pid}})
    kill(started.parent_fd)
    os.close(started.parent_fd)
    started.fifos.close()


async def _executed(pid: int, child_fd: int, before: bytes, *, lowered: bool) -> None:
    """Wait until the child executes its program (its command line changes) or ends.

    The execution follows within microseconds; the kernel has no event for it, only for the end of a
    process. A lowered process executes other programs first, and its command line is briefly empty each
    time.
    """
    for pause in execution_pauses():
        now = command_line(pid)
        under_way = lowered and (not now or is_on_its_way(now))
        if now != before and not under_way:
            return
        try:
            async with asyncio.timeout(pause):
                await readable(child_fd)
        except TimeoutError:
            continue
        return


def execution_pauses() -> Iterator[float]:
    """Pauses in seconds between checks of a program that is about to be executed; endless. Pure."""
    pause = _EXECUTION_S
    while True:
        yield pause
        pause = min(2 * pause, _EXECUTION_MOST_S)
