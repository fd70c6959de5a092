"""The worker without what it never uses: its memory counts as the app's.

asyncssh imports all that it can do: file transfers, agents, terminals and their line editor, subprocesses,
certificates. Of these the worker uses nothing. Their modules are replaced by placeholders before asyncssh is
imported, which saves a tenth of the worker's memory. The process is the worker's alone, so that no other
program misses them.
"""

from __future__ import annotations

import sys
import types
import typing
from typing import Any, cast

PLACEHOLDERS = (
    *("agent", "editor", "forward", "keysign", "listener", "pkcs11", "process", "scp", "sftp", "socks"),
    *("stream", "subprocess", "tuntap", "x11"),
)
"""Modules of asyncssh from which others import names that are not used in a worker."""

ABSENT = ("asyncssh.crypto.x509", "ssl")
"""Modules whose absence asyncssh and asyncio provide for."""


class Unused(Exception):
    """Stands for every class of the modules that are left out; it has no instances."""

    def __class_getitem__(cls, _: object) -> type[Unused]:
        return cls


class Placeholder(types.ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> type[Unused]:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unused


def leave_out() -> None:
    """Has to come before the first import of asyncssh and asyncio in this process."""
    modules = cast("dict[str, Any]", sys.modules)
    for name in ABSENT:
        modules[name] = None
    for name in PLACEHOLDERS:
        modules[f"asyncssh.{name}"] = Placeholder(f"asyncssh.{name}")
    modules["typing_extensions"] = typing  # asyncssh takes from it what the standard library has since 3.11
