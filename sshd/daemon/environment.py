"""The environment of commands and the shell that runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

SHELLS = ("/bin/bash", "/usr/local/bin/bash", "/bin/sh")
"""Looked for in this order, then ``bash`` and ``sh`` in the daemon's PATH."""

_ALWAYS = {"PATH": "/bin:/usr/bin", "LANG": "en_US.UTF8"}  # spelled so

VARIABLE_BYTES = 8 * 1024 * 1024
"""Names and values that the sessions of one connection may have waiting for their commands.

No program could be started with more than a quarter of it.
"""


class Allowance:
    """How much more of something a connection may have kept."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, amount: int) -> bool:
        """Whether it is granted."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def give_back(self, amount: int) -> None:
        self.left += amount


def find_shell() -> str:
    """The first shell there is; ``/bin/sh``, which then fails to start, if there is none."""
    for path in SHELLS:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return shutil.which("bash") or shutil.which("sh") or "/bin/sh"


def command_environment(
    daemon: Mapping[str, str], inherit: bool, client: Mapping[str, str]
) -> dict[str, str]:
    """What a command sees: the fixed two, the daemon's (if inherited), the client's.

    HOME and USER the daemon's.
    """
    environment = dict(_ALWAYS)
    if inherit:
        environment.update((name, value) for name, value in daemon.items() if name.upper() != "PATH")
    environment.update(client)
    environment["HOME"] = daemon.get("HOME", "")
    environment["USER"] = daemon.get("USER", "")
    return environment
