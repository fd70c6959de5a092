"""Failpoints: named places between an intent, its effect and its result, where a test can kill the process.

``DIEGO_CELL_FAILPOINTS=network.attach.linked=kill@3`` kills the process when it passes that place for the
third time (``=kill``: the first time). Several are separated by commas. A value that begins with ``/`` names
a file with such a text; it is read again whenever it is replaced, so a test can arm a running process. The
variable is read once, when the process starts; without it a failpoint does nothing.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from typing import Final

VARIABLE: Final = "DIEGO_CELL_FAILPOINTS"

NAMES: Final = (
    "journal.before-commit",
    "journal.after-commit",
    "container.create.before",
    "container.create.created",
    "container.create.started",
    "container.destroy.before",
    "container.destroy.removed",
    "network.attach.ruled",
    "network.attach.linked",
    "network.detach.unruled",
    "network.detach.done",
    "output.spliced",
    "output.written",
    "output.saved",
    "process.start.before",
    "process.start.waiting",
    "process.start.known",
    "process.start.let-go",
    "process.exit.stored",
    "process.exit.acknowledged",
    "step.begun",
    "step.ended",
    "step.released",
    "outcome.stored",
    "outcome.answered",
    "outcome.removed",
)
"""Every failpoint of the product."""

_FORM: Final = re.compile(r"(?P<name>[a-z.-]+)=kill(?:@(?P<turn>[1-9]\d*))?")


class Failpoints:
    """The armed failpoints: for each name, how many passes are left."""

    def __init__(self, text: str) -> None:
        """text: the variable's value. Raises ValueError for a malformed one."""
        self._left = parse(text)
        self._lock = threading.Lock()

    def is_due(self, name: str) -> bool:
        """Whether this pass is the one to act on. Safe in threads."""
        if name not in self._left:
            return False
        with self._lock:
            self._left[name] -= 1
            return self._left[name] == 0


class FailpointFile:
    """The failpoints that a file arms; none while there is no file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._version = 0
        self._points = Failpoints("")

    def is_due(self, name: str) -> bool:
        """As :meth:`Failpoints.is_due`, after a look at the file. Raises ValueError for a malformed one."""
        try:
            version = os.stat(self._path).st_mtime_ns
        except FileNotFoundError:
            return False
        if version != self._version:
            with open(self._path, encoding="utf-8") as file:
                self._points, self._version = Failpoints(file.read()), version
        return self._points.is_due(name)


def parse(text: str) -> dict[str, int]:
    """The pass to act on, by name. Raises ValueError."""
    armed = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _FORM.fullmatch(part)
        if match is None:
            raise ValueError(f"{VARIABLE}: {part!r} is not of the form NAME=kill or NAME=kill@PASS")
        if match["name"] not in NAMES:
            raise ValueError(f"{VARIABLE}: there is no failpoint {match['name']}")
        armed[match["name"]] = int(match["turn"] or 1)
    return armed


def of_variable(value: str) -> Failpoints | FailpointFile | None:
    """What the variable's value arms. Raises ValueError."""
    if value.startswith("/"):
        return FailpointFile(value)
    return Failpoints(value) if value else None


_ARMED = of_variable(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Kill the process here if a test has asked for it."""
    if _ARMED is not None and _ARMED.is_due(name):
        os.write(sys.stderr.fileno(), f"killed at failpoint {name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
