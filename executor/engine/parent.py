"""The tiny parent of every process: two shell scripts for a static busybox, and the command line for them.

The engine's exec starts the parent, detached. It opens the output FIFOs, runs the child and writes the
child's exit status. The child becomes a session leader (as a container runtime's processes are), tells
that it exists, waits to be let go, sets its limit of open files and executes the program in its place.

The pieces, all FIFOs in a directory that the container sees read-only (nothing can be replaced there, and
nothing written to the host's disk; writing to a FIFO needs no writable mount):

``out``, ``err``   opened read-write by the parent too. That keeps a read end in the container: no SIGPIPE,
                   and back-pressure instead of loss while the agent is away.
``go``             the agent writes a line when it knows the child's pid. Without an agent the read ends and
                   nothing is started: an abandoned start leaves no process behind.
``status``         ``r`` when the child waits; its end-of-file when the program was executed (the only copy
                   of the descriptor is closed by ``execve`` itself: a compound command's saved descriptor
                   is close-on-exec); ``F<n>`` before that when executing failed. Later, from the parent, the
                   exit status. Opening it blocks while no agent has it open, so the parent keeps the status
                   and what is still in ``out`` and ``err`` until somebody comes back for them.

The parent's own error output is the engine's null device: a shell says "Terminated" for a child that died
by a signal, which is not the app's output (hence the subshell: its redirections are not the parent's). Only
positional parameters are used, for a variable would reach the process if its environment has the same name.
"""

from __future__ import annotations

from executor.engine.environment import split_for_shell
from executor.engine.launch import Launch

BUSYBOX = "/.cell/busybox"
INIT = "/.cell/init"
IO_DIR = "/.cell/io"

NOFILE_REFUSED = 125
"""Status of a child that could not set its limit of open files."""

_PARENT = """\
exec 8<>"$0/out" 9<>"$0/err"
(exec /.cell/busybox setsid /.cell/busybox sh -c "$@") </dev/null 1>&8 2>&9 8>&- 9>&-
echo $? >"$0/status"
"""

_CHILD = """\
trap 'echo "F$?" >"$0/status"' EXIT
exec 3>"$0/status"
echo r >&3
read -r REPLY <"$0/go" || exit 124
unset $1
[ -z "$2" ] || ulimit -n "$2" || exit 125
{ shift 2; exec -a "$@"; } 3>&-
"""


def parent_command(launch: Launch, name: str) -> tuple[list[str], list[str]]:
    """Command line and ``NAME=value`` environment of the exec that starts ``launch``.

    name: the process' directory below the container's io directory. Variables that a shell cannot hand on
    are set by ``busybox env`` in front of the program, which then loses a differing argument 0.
    """
    plain, special, unset = split_for_shell(launch.env)
    program = [launch.argv[0], launch.program, *launch.argv[1:]]
    if special:
        settings = [f"{key}={value}" for key, value in special]
        program = ["busybox", BUSYBOX, "env", *settings, launch.program, *launch.argv[1:]]
    directory = f"{IO_DIR}/{name}"
    nofile = "" if launch.nofile is None else str(launch.nofile)
    command = [BUSYBOX, "sh", "-c", _PARENT, directory, _CHILD, directory, " ".join(unset), nofile, *program]
    return command, [f"{key}={value}" for key, value in plain]
