"""The one place that imports asyncssh, prepared for where these programs run.

Two of its modules look for optional C libraries (liboqs, nettle) when they are imported. In a container that
search would start whatever ``ldconfig`` or ``gcc`` the app's image has; it costs 60 ms and needs ``ctypes``.
Nothing it could find is used here, so those two are left out.
"""

from __future__ import annotations

import logging
import sys
import types
from typing import cast

_UMAC, _POST_QUANTUM = "asyncssh.crypto.umac", "asyncssh.crypto.pq"

if "asyncssh" not in sys.modules:
    _modules = cast("dict[str, object]", sys.modules)
    _modules[_UMAC] = None  # makes its import fail, which asyncssh takes for "not installed"
    _absent = types.ModuleType(_POST_QUANTUM)
    _absent.__dict__.update(
        mlkem_available=False, sntrup_available=False, PQClass=type, MLKEM=None, SNTRUP=None
    )
    _modules[_POST_QUANTUM] = _absent

import asyncssh  # noqa: E402 - after the two are left out

# Its own log speaks of every packet; what the programs log is theirs.
asyncssh.set_log_level(logging.CRITICAL)

__all__ = ["asyncssh"]
