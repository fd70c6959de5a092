"""File access with the rights of a container's user, per thread.

The kernel keeps credentials per thread. A thread that copies files for a user takes on the user's file
system uid and gid. So the kernel decides what the user may read and write, and new files belong to the
user. The thread has no other use and ends afterwards, because the change is permanent.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence

_SETGROUPS = {"x86_64": 116, "aarch64": 159}
"""System call numbers: the C library's function would change all threads."""
_CAPABILITY_VERSION = 0x20080522
_CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID = 0, 1, 3, 4
_ROOT_KEEPS = sum(1 << number for number in (_CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID))
"""Capabilities of a container's root for files of the container."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def become(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Make the calling thread a user permanently, with host uid and gid. It keeps the file capabilities of a
    container's root. Raises OSError.
    """
    numbers = (ctypes.c_uint32 * len(groups))(*groups)
    _called(_libc.syscall(_SETGROUPS[platform.machine()], len(groups), numbers))
    for change, wanted in ((_libc.setfsgid, gid), (_libc.setfsuid, uid)):
        change(wanted)
        if change(-1) != wanted:  # these calls return the previous id and report no failure
            raise PermissionError(1, os.strerror(1))
    _keep(_ROOT_KEEPS)


def drop_capabilities() -> None:
    """Reduce the calling thread to its user's rights. Raises OSError."""
    _keep(0)


def _keep(capabilities: int) -> None:
    header, sets = _Header(_CAPABILITY_VERSION, 0), (_Sets * 2)()
    _called(_libc.capget(ctypes.byref(header), sets))
    sets[0].effective = sets[0].permitted & capabilities
    sets[1].effective = 0
    _called(_libc.capset(ctypes.byref(header), sets))


def _called(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
