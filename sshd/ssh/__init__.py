"""SSH as both programs speak it: asyncssh's transport and authentication, our connection protocol on top.

Importing this package, which comes before any import of asyncssh, leaves two of its modules out. They look
for optional C libraries (liboqs, nettle); in a container that search would start whatever ``ldconfig`` or
``gcc`` the app's image has, it costs 60 ms and needs ``ctypes``. Nothing it could find is used here.
"""

from __future__ import annotations

import importlib.util
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
    if importlib.util.find_spec("ctypes") is None:  # the bundle has none, and only Windows would use it
        _modules["ctypes"] = types.ModuleType("ctypes")
