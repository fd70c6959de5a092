"""Child processes of sessions: started, reaped, never left as zombies.

A child is a fork of this process. It either executes a program or runs one of the transfer functions, so that
slow file systems block only the child. Each child has its own session: ``kill 0`` in a command must not reach
the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

WITHOUT_PROC = 4096
"""Number of descriptors to close if /proc does not list them."""

COULD_NOT_START = 255
"""Exit status of a child if its program cannot be executed."""

_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class ExitState:
    """The end of a child: an exit status, or a signal number and whether there is a core dump."""

    status: int | None
    signal: int = 0
    core: bool = False


class Children:
    """All children of this process."""

    def __init__(self) -> None:
        self._ended: dict[int, Callable[[ExitState], None]] = {}

    def start(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def stop(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def fork(
        self,
        body: Callable[[], int],
        stdio: tuple[int, int, int],
        terminal: bool,
        ended: Callable[[ExitState], None],
    ) -> int:
        """Run ``body`` in a child with these three descriptors; ``ended`` is called when the child exits.

        With ``terminal`` the three descriptors are one terminal, which becomes the controlling terminal.
        Raises ``OSError`` if the process cannot be made.
        """
        pid = os.fork()
        if pid == 0:
            _run_child(body, stdio, terminal)
        self._ended[pid] = ended
        return pid

    def signal(self, pid: int, number: int) -> None:
        """Signal a child that has not been reaped; otherwise do nothing."""
        if pid in self._ended:
            os.kill(pid, number)

    def _reap(self) -> None:
        for pid in list(self._ended):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                self._ended.pop(pid)(ExitState(COULD_NOT_START))
                continue
            if done:
                self._ended.pop(pid)(_exit_state(status))


def _exit_state(status: int) -> ExitState:
    if os.WIFSIGNALED(status):
        return ExitState(None, os.WTERMSIG(status), os.WCOREDUMP(status))
    return ExitState(os.WEXITSTATUS(status))


def _run_child(body: Callable[[], int], stdio: tuple[int, int, int], terminal: bool) -> NoReturn:
    status = COULD_NOT_START
    try:
        signal.set_wakeup_fd(-1)
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        if terminal:
            os.login_tty(stdio[0])
        else:
            os.setsid()
            for target, descriptor in enumerate(_above_stdio(stdio)):
                os.dup2(descriptor, target)
        _close_all_but_stdio()
        status = body()
    finally:
        os._exit(status & 0xFF)


def _close_all_but_stdio() -> None:
    """Close inherited descriptors: a copy of another session's pipe would keep that pipe open.

    The descriptor limit cannot bound a range: it is 10^9 in some containers, whose seccomp profile may not
    allow ``close_range``.
    """
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        descriptors = list(range(WITHOUT_PROC))
    for descriptor in descriptors:
        if descriptor > 2:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _above_stdio(stdio: tuple[int, int, int]) -> tuple[int, ...]:
    """Duplicates above 2 of the three descriptors, which a ``dup2`` to 0, 1 or 2 cannot overwrite."""
    return tuple(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in stdio)


def program(path: str, arguments: list[str], environment: dict[str, str]) -> Callable[[], int]:
    """A child body that executes another program."""

    def execute() -> int:
        try:
            os.execve(path, arguments, environment)
        except (OSError, ValueError):
            return COULD_NOT_START

    return execute
