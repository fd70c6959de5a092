"""Import of asyncssh, without its library searches and with a version check.

asyncssh searches for optional C libraries (liboqs, nettle) on import. In a container this search starts
``ldconfig`` or ``gcc`` of the app's image, takes 60 ms and needs ``ctypes``. It is disabled here, because the
libraries are not used.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
import types
from collections.abc import Iterator
from typing import Any, cast

VERSIONS = ("2.24.1",)
"""Versions of asyncssh that ``sshd.ssh.transport`` supports and is tested with."""

_UMAC = "asyncssh.crypto.umac"


class LibraryMismatch(ImportError):
    """The installed asyncssh is not a supported version."""


def check_version(version: str) -> None:
    """Raises :class:`LibraryMismatch`."""
    if version not in VERSIONS:
        names = " or ".join(VERSIONS)
        raise LibraryMismatch(
            f"asyncssh {version} is installed, but sshd needs asyncssh {names}: "
            "install the version that constraints.txt pins"
        )


@contextlib.contextmanager
def _without_searches() -> Iterator[None]:
    """Inside the context, ``ctypes.util`` finds no library."""
    modules = cast("dict[str, Any]", sys.modules)
    modules[_UMAC] = None  # the import fails, which asyncssh treats as "not installed"
    if importlib.util.find_spec("ctypes") is None:  # as in the bundle
        modules["ctypes"] = types.ModuleType("ctypes")
        modules["ctypes.util"] = modules["ctypes"].util = types.ModuleType("ctypes.util")
    finder: Any = importlib.import_module("ctypes.util")
    search = getattr(finder, "find_library", None)
    finder.find_library = lambda name: None
    try:
        yield
    finally:
        finder.find_library = search


if "asyncssh" in sys.modules:
    import asyncssh
else:
    with _without_searches():
        import asyncssh

check_version(asyncssh.__version__)
asyncssh.set_log_level(logging.CRITICAL)  # asyncssh logs every packet

__all__ = ["LibraryMismatch", "asyncssh", "check_version"]
