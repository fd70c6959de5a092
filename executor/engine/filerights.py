"""A thread that works on files with the rights of a container's user.

The kernel keeps credentials per thread. A thread that copies files for a user takes on the user's numbers for
file systems, so that the kernel decides what the user may read and write, and who owns what is made. The
thread is used for nothing else and ends afterwards: there is no way back.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence

_SETGROUPS = {"x86_64": 116, "aarch64": 159}
"""Number of the system call: the library's function changes all threads."""
_CAPABILITY_VERSION = 0x20080522
_CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID = 0, 1, 3, 4
_ROOT_KEEPS = sum(1 << number for number in (_CHOWN, _DAC_OVERRIDE, _FOWNER, _FSETID))
"""What root of a container may do to files of the container."""

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
    """Make the calling thread a user, in numbers of the host, for the rest of its life; it keeps what root of
    a container may do to files. Raises OSError."""
    numbers = (ctypes.c_uint32 * len(groups))(*groups)
    _called(_libc.syscall(_SETGROUPS[platform.machine()], len(groups), numbers))
    for change, wanted in ((_libc.setfsgid, gid), (_libc.setfsuid, uid)):
        change(wanted)
        if change(-1) != wanted:  # they answer what was before, and say nothing of a failure
            raise PermissionError(1, os.strerror(1))
    _keep(_ROOT_KEEPS)


def renounce() -> None:
    """Leave the calling thread no more than its user's rights. Raises OSError."""
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
