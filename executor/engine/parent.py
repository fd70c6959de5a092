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
``status``         ``r`` when the child waits; its end-of-file when the program is about to be executed (the
                   shell closes the only copy of the descriptor); ``F<n>`` before that when a limit was
                   refused. Later, from the parent, the exit status. Opening it blocks while no agent has it
                   open, so the parent keeps the status and what is still in ``out`` and ``err`` until
                   somebody comes back for them.

The program gets its environment from ``env -i``, an applet that the shell runs in its own process, without
executing anything: so the variables are in the order given, no further process stays, and their values are
in no argument list that others could read. A program that cannot be executed after all is reported by the
applet on the error output, see :func:`refusal`.

The parent's own error output is the engine's null device: a shell says "Terminated" for a child that died
by a signal, which is not the app's output (hence the subshell: its redirections are not the parent's). Only
positional parameters are used, besides the variables that carry the environment. The limit of open files is
set last: a shell needs descriptors from 10 on for its own redirections.
"""

from __future__ import annotations

import re

from executor.engine.environment import carried_over, handed_over
from executor.engine.launch import Launch
from executor.engine.lowering import LOADER, lowering_command

BUSYBOX = "/.cell/busybox"
INIT = "/.cell/init"
IO_DIR = "/.cell/io"

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
{ [ -z "$1" ] || ulimit -n "$1" || exit 125; shift; exec env -i WORDS "$@"; } 3>&-
"""

_LOWERED = 'exec env -i WORDS "$@"'
"""What becomes of a process after setpriv: see :mod:`executor.engine.lowering`, which has no variables of the
program's, for they might mean something to it."""

_REFUSED = re.compile(rb"(?:env|setpriv): can't execute '(.*)': ([^\n]*)\n", re.DOTALL)


def parent_command(launch: Launch, name: str, *, lowered: bool = False) -> tuple[list[str], list[str]]:
    """Command line and ``NAME=value`` environment of the exec that starts ``launch``.

    name: the process' directory below the container's io directory. lowered: it begins as root, and becomes
    its user.
    """
    variables, words = handed_over(launch.env)
    directory = f"{IO_DIR}/{name}"
    nofile = "" if launch.nofile is None else str(launch.nofile)
    child = _CHILD
    before: tuple[str, ...] = ()
    if lowered:
        child = child.replace("WORDS", carried_over(variables))
        script = _LOWERED.replace("WORDS", words)
        before = (*lowering_command(launch.user, launch.groups), BUSYBOX, "sh", "-c", script, "sh")
    child = child.replace("WORDS", words)
    program = _program(launch)
    # An argument with "=" before the program's would be a variable to env: another applet in between.
    through = [BUSYBOX, "setpriv"] if "=" in program else []
    arguments = [*before, *through, program, *launch.argv[1:]]
    command = [BUSYBOX, "sh", "-c", _PARENT, directory, child, directory, nofile, *arguments]
    return command, variables


def refusal(launch: Launch, error_output: bytes) -> str:
    """The kernel's reason for not executing the program, when that is all there is in the output so far."""
    refused = _REFUSED.fullmatch(error_output)
    if refused is None or refused[1] != _program(launch).encode("utf-8", "surrogateescape"):
        return ""
    return refused[2].decode("utf-8", "replace")


def is_on_its_way(command_line: bytes) -> bool:
    """Whether a lowered process has not become its program yet, by ``/proc/<pid>/cmdline``."""
    steps = (LOADER, "\0".join((BUSYBOX, "sh", "-c", "exec env -i ")))
    return command_line.startswith(tuple(step.encode() for step in steps))


def _program(launch: Launch) -> str:
    """Argument 0 as it was given. A bare name becomes a path: the applet would take its own program."""
    return launch.argv[0] if "/" in launch.argv[0] else launch.program
