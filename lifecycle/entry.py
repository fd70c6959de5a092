"""Entry point of every in-container program: restores the environment, then runs the requested program.

``lifecycle/bundle/start.c`` runs before it. It passes the lifecycle, the file name and the caller's argv, and
puts a mark in front of each environment variable, so that ``LD_PRELOAD`` and similar variables affect neither
loader nor interpreter. Variables without the mark belong to the interpreter and never reach a child.
"""

from __future__ import annotations

import os
import sys

from lifecycle.programs import PROGRAMS

_signal = __import__("_signal")  # ``signal`` would import enum, which slows down every start

ENVIRONMENT_MARK = ":"
"""Same value as in lifecycle/bundle/start.c."""
CANNOT_START = 126

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the program named by ``sys.argv`` and exit with its status; never returns."""
    lifecycle, name, *argv = sys.argv[1:]
    give_back_environment()
    complete_streams()
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    sys.argv = argv
    module = PROGRAMS.get((lifecycle, name))
    if module is None:
        names = ", ".join(sorted(known for kind, known in PROGRAMS if kind == lifecycle))
        print(f"{name}: no such program; a link to it must have one of the names {names}", file=sys.stderr)
        leave(CANNOT_START)
    try:
        status = __import__(module, fromlist=["main"]).main(argv or [name])
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    leave(status)


def give_back_environment() -> None:
    """Restore the caller's ``os.environ``; of duplicate names the first counts."""
    marked = dict(os.environ)
    os.environ.clear()
    for name, value in marked.items():
        if name.startswith(ENVIRONMENT_MARK):
            os.environ[name[len(ENVIRONMENT_MARK) :]] = value


def complete_streams() -> None:
    """Write messages byte for byte; drop them if the stream is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - it lasts as long as the program
        else:
            stream.reconfigure(errors="surrogateescape")


def leave(status: int) -> NoReturn:
    """Exit without the interpreter's cleanup, which costs more than most of these programs."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or 1
    os._exit(status)
