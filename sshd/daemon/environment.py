"""The shell of commands, and their environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

SHELLS = ("/bin/bash", "/usr/local/bin/bash", "/bin/sh")
"""Candidates in this order, then ``bash`` and ``sh`` in the daemon's PATH."""

_ALWAYS = {"PATH": "/bin:/usr/bin", "LANG": "en_US.UTF8"}  # this spelling is intended

VARIABLE_BYTES = 8 * 1024 * 1024
"""Limit of the names and values that a connection's sessions keep for commands not yet started.

The kernel starts no program with more than a quarter of it.
"""


class Allowance:
    """Remaining budget of one connection."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, amount: int) -> bool:
        """Take ``amount`` from the budget; False if it does not fit."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def release(self, amount: int) -> None:
        self.left += amount


def find_shell() -> str:
    """The first existing shell. Without one, ``/bin/sh``, whose start then fails."""
    for path in SHELLS:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return shutil.which("bash") or shutil.which("sh") or "/bin/sh"


def command_environment(
    daemon: Mapping[str, str], inherit: bool, client: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a command: the two fixed variables, the daemon's (if inherited), the client's.

    HOME and USER are always the daemon's.
    """
    environment = dict(_ALWAYS)
    if inherit:
        environment.update((name, value) for name, value in daemon.items() if name.upper() != "PATH")
    environment.update(client)
    environment["HOME"] = daemon.get("HOME", "")
    environment["USER"] = daemon.get("USER", "")
    return environment
