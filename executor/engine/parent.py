"""The tiny parent of every process: two shell scripts for a static busybox, and their command line.

The engine's exec starts the parent, detached. It opens the output FIFOs, runs the child and writes the
child's exit status. The child becomes a session leader (like a container runtime's processes), reports
that it is ready, waits for the go, sets its limit of open files and executes the program in its place.

All FIFOs are in a directory that the container sees read-only. So nothing can be replaced there, and
nothing written to the host's disk; writing to a FIFO needs no writable mount:

``out``, ``err``: the parent opens them read-write too. That keeps a read end in the container: no SIGPIPE,
    and back-pressure instead of loss while the agent is down.
``go``: the agent writes a line once it has the child's pid. Without an agent the child waits, and the next
    agent ends it; it also ends when the FIFO is removed. A second line, to the parent, ends the parent.
``status``: ``r`` when the child waits; end-of-file when the program is about to be executed (the shell
    closes the only copy of the descriptor); ``F<n>`` before that if a limit was refused. Later, from the
    parent, the exit status. Opening it blocks without a reader. The parent repeats the status until an
    agent has confirmed it by a line in ``go``, and so keeps the rest of ``out`` and ``err``: an agent that
    ends before it has stored them loses nothing.

The program gets its environment from ``env -i``, an applet that the shell runs in its own process, without
executing a program. So the variables are in the given order, no further process stays, and their values
are in no argument list that others could read. The applet reports a program that cannot be executed on the
error output, see :func:`refusal`.

The parent's own error output is the engine's null device: a shell prints "Terminated" for a child that
died by a signal, which is not the app's output (hence the subshell: its redirections are not the
parent's). The scripts use only positional parameters and the variables that carry the environment. The
limit of open files is set last: a shell needs descriptors from 10 on for its own redirections.
"""

from __future__ import annotations

import re

from executor.engine.arguments import passed_on, quoted
from executor.engine.privileged import LOADER, lowering_command
from executor.engine.resolution import ResolvedProcess

BUSYBOX = "/.cell/busybox"
INIT = "/.cell/init"
IO_DIR = "/.cell/io"

_PARENT = """\
exec 8<>"$0/out" 9<>"$0/err"
(exec /.cell/busybox setsid /.cell/busybox sh -c "$@") </dev/null 1>&8 2>&9 8>&- 9>&-
set -- $?
while echo "$1" >"$0/status" && ! read -r REPLY <"$0/go"; do :; done
"""

_CHILD = """\
trap 'echo "F$?" >"$0/status"' EXIT
exec 3>"$0/status"
echo r >&3
until read -r REPLY <"$0/go"; do [ -p "$0/go" ] || exit 124; done
{ [ -z "$1" ] || ulimit -n "$1" || exit 125; shift; exec env -i WORDS "$@"; } 3>&-
"""

_LOWERED = 'exec env -i WORDS "$@"'
"""Last script of a lowered process, after setpriv (:mod:`executor.engine.privileged`), which runs without the
program's variables because it might interpret them.
"""

_REFUSED = re.compile(rb"(?:env|setpriv): can't execute '(.*)': ([^\n]*)\n", re.DOTALL)


def parent_command(
    process: ResolvedProcess, name: str, *, lowered: bool = False
) -> tuple[list[str], list[str]]:
    """Command line and ``NAME=value`` environment of the exec that starts ``process``.

    name: the process's directory below the container's io directory. lowered: starts as root, then becomes
    its user.
    """
    variables, words = quoted(process.env)
    directory = f"{IO_DIR}/{name}"
    nofile = "" if process.nofile is None else str(process.nofile)
    child = _CHILD
    before: tuple[str, ...] = ()
    if lowered:
        child = child.replace("WORDS", passed_on(variables))
        script = _LOWERED.replace("WORDS", words)
        before = (*lowering_command(process.user, process.groups), BUSYBOX, "sh", "-c", script, "sh")
    child = child.replace("WORDS", words)
    program = _program(process)
    # env takes an argument with "=" before the program's as a variable: put another applet in between.
    through = [BUSYBOX, "setpriv"] if "=" in program else []
    arguments = [*before, *through, program, *process.argv[1:]]
    command = [BUSYBOX, "sh", "-c", _PARENT, directory, child, directory, nofile, *arguments]
    return command, variables


def refusal(process: ResolvedProcess, error_output: bytes) -> str:
    """The kernel's reason for not executing the program, if the output so far has nothing else."""
    refused = _REFUSED.fullmatch(error_output)
    if refused is None or refused[1] != _program(process).encode("utf-8", "surrogateescape"):
        return ""
    return refused[2].decode("utf-8", "replace")


def is_waiting(command_line: bytes) -> bool:
    """Whether a child still waits for the go, by ``/proc/<pid>/cmdline``."""
    return command_line.startswith("\0".join((BUSYBOX, "sh", "-c", _CHILD.partition("\n")[0])).encode())


def is_on_its_way(command_line: bytes) -> bool:
    """Whether a lowered process has not yet executed its program, by ``/proc/<pid>/cmdline``."""
    steps = (LOADER, "\0".join((BUSYBOX, "sh", "-c", "exec env -i ")))
    return command_line.startswith(tuple(step.encode() for step in steps))


def _program(process: ResolvedProcess) -> str:
    """Argument 0 as given. A bare name becomes a path, because the applet would run its own program of that
    name.
    """
    return process.argv[0] if "/" in process.argv[0] else process.program
