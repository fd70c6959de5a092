"""Process information from /proc, by host pids and pidfds."""

from __future__ import annotations

import os
import resource
import signal

from executor.engine.arguments import argument_bytes_most

PF_EXITING = 0x4
"""Flag of a process that the kernel is ending."""

COMMAND_LINE_BYTES = 4096
"""Maximum bytes read of a command line, which the program may make megabytes long."""


def kill(pidfd: int) -> None:
    """Kill a process. An ended process and a pidfd of -1 are no error."""
    if pidfd < 0:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return


def argument_bytes_of(init_pid: int) -> int:
    """Limit for arguments and variables of a container's processes, in bytes.

    Raises OSError if its init process is gone.
    """
    return argument_bytes_most(resource.prlimit(init_pid, resource.RLIMIT_STACK)[0])


def command_line(pid: int) -> bytes:
    """The beginning of a command line; empty for an ended process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return arguments.read(COMMAND_LINE_BYTES)
    except (FileNotFoundError, ProcessLookupError):
        return b""


def children_of(pid: int) -> list[int]:
    """Children of a single-threaded process. Raises OSError if it is gone."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return [int(word) for word in children.read().split()]


def only_child(pid: int) -> int:
    """The only child of a process. Raises ProcessLookupError if it has none."""
    pids = children_of(pid)
    if not pids:
        raise ProcessLookupError(f"process {pid} has no child")
    return pids[0]


def is_ending(proc_fd: int) -> bool:
    """Whether the process of a ``/proc`` directory has ended, or has begun to: the exit of the first one of a
    pid namespace takes a while.
    """
    try:
        with open(os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd), "rb") as status:
            state, *_, flags = status.read().rpartition(b")")[2].split()[:7]
    except OSError:
        return True
    return state in (b"Z", b"X") or bool(int(flags) & PF_EXITING)


def start_of(pid: int) -> int:
    """Start of a process in clock ticks after boot: field 22, the 20th after the name in parentheses."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as status:
        return int(status.read().rpartition(")")[2].split()[19])
