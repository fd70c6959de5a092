"""Placeholders for unused modules of asyncssh, because the worker's memory counts against the app.

asyncssh imports all its features: file transfers, agents, terminals and their line editor, subprocesses,
certificates. The worker uses none of these. Their modules are replaced by placeholders before asyncssh is
imported, which saves a tenth of the worker's memory. The process runs only the worker, so no other program
needs them.
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
"""Modules from which asyncssh imports names that a worker does not use."""

ABSENT = ("asyncssh.crypto.x509", "ssl")
"""Optional modules: asyncssh and asyncio work without them."""


class Unused(Exception):
    """Replaces every class of the omitted modules; it has no instances."""

    def __class_getitem__(cls, _: object) -> type[Unused]:
        return cls


class Placeholder(types.ModuleType):
    """A module in which every name exists."""

    def __getattr__(self, name: str) -> type[Unused]:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unused


def leave_out() -> None:
    """Install the placeholders. Call it before the first import of asyncssh and asyncio in this process."""
    modules = cast("dict[str, Any]", sys.modules)
    for name in ABSENT:
        modules[name] = None
    for name in PLACEHOLDERS:
        modules[f"asyncssh.{name}"] = Placeholder(f"asyncssh.{name}")
    # asyncssh needs names from it that the standard library has since 3.11
    modules["typing_extensions"] = typing
