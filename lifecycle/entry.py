"""The first Python of every in-container program: give the environment back, then run what was asked for.

``packaging/bundle/start.c`` comes before. It passes lifecycle, file name and the caller's argv, and the
environment with a mark in front of each variable, so that neither loader nor interpreter saw ``LD_PRELOAD``
or the like. What the interpreter has in its environment without the mark is its own and never reaches a
child.
"""

from __future__ import annotations

import os
import sys

from lifecycle.programs import PROGRAMS

_signal = __import__("_signal")  # signal itself brings enum along, which every start would pay for

ENVIRONMENT_MARK = ":"
"""As in packaging/bundle/start.c."""
CANNOT_START = 126

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the program named by ``sys.argv`` and leave with its status; never returns."""
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
    """Make ``os.environ`` what the caller passed: the first of duplicate names counts."""
    marked = dict(os.environ)
    os.environ.clear()
    for name, value in marked.items():
        if name.startswith(ENVIRONMENT_MARK):
            os.environ[name[len(ENVIRONMENT_MARK) :]] = value


def complete_streams() -> None:
    """Let messages go out byte for byte, and nowhere where a stream is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - it lasts as long as the program
        else:
            stream.reconfigure(errors="surrogateescape")


def leave(status: int) -> NoReturn:
    """Exit without the interpreter's tidying up, which costs more than most of these programs."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or 1
    os._exit(status)
