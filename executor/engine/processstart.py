"""The start of a process in a container: three short engine calls, and a child that waits to be let go.

The child executes its program only after its pids are stored, so a cancelled start leaves no process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docker import APIClient

from common.failpoints import failpoint
from executor.engine.api import EngineContainer, OutputHandler, ProcessSpec
from executor.engine.arguments import too_long
from executor.engine.client import EngineClient
from executor.engine.fifos import PidFile, ProcessFifos, StatusReader, StatusSpoiled, readable
from executor.engine.parent import is_on_its_way, parent_command, refusal
from executor.engine.proc import argument_bytes_of, command_line, kill, only_child, start_of
from executor.engine.process import DockerProcess
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
from executor.reasons import reason_of

logger = logging.getLogger(__name__)

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


class ProcessStarter:
    """Starts processes. io_dir: see :class:`executor.engine.processes.Processes`."""

    def __init__(self, client: EngineClient, io_dir: Callable[[str], Path], outputs: OutputReaders) -> None:
        self._client = client
        self._io_dir = io_dir
        self._outputs = outputs
        self.closed = False

    async def start(
        self,
        container: EngineContainer,
        proc_fd: int,
        spec: ProcessSpec,
        handlers: tuple[OutputHandler, OutputHandler],
        name: str,
        *,
        durable: bool,
    ) -> DockerProcess:
        """Start a process. Raises ProcessStartError, ContainerGone or another EngineError."""
        started = await self._exec(container, proc_fd, spec, name)
        try:
            return await self._let_go(container, started, name, handlers, durable=durable)
        except BaseException:
            self._undo(started, durable=durable)
            raise

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
        handlers: tuple[OutputHandler, OutputHandler],
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
                handlers,
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

    def _undo(self, started: _Started, *, durable: bool) -> None:
        """End a partial start; leave a durable process, which may run already, to the next agent process."""
        if durable and self.closed:
            os.close(started.parent_fd)
            started.fifos.close_descriptors()
        else:
            _discard(started)


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
