"""Failpoints: named places between an intent, its effect and its result, where a test can kill the process.

``DIEGO_CELL_FAILPOINTS=network.attach.linked=kill@3`` kills the process when it passes that place for the
third time (``=kill``: the first time). The variable is read once, when the process starts; without it a
failpoint does nothing. Several are separated by commas.
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


_ARMED = Failpoints(text) if (text := os.environ.get(VARIABLE, "")) else None


def failpoint(name: str) -> None:
    """Kill the process here if a test has asked for it."""
    if _ARMED is not None and _ARMED.is_due(name):
        os.write(sys.stderr.fileno(), f"killed at failpoint {name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
