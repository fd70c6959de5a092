"""``openat2``: opening a path that must not leave a directory. The library has no call for it."""

from __future__ import annotations

import ctypes
import errno
import os
from enum import IntFlag

_SYS_OPENAT2 = 437  # the same number on every architecture
_ATTEMPTS = 8
_libc = ctypes.CDLL(None, use_errno=True)


class Resolve(IntFlag):
    """How the kernel resolves a path, see openat2(2). Links of /proc are never followed."""

    _NO_MAGICLINKS = 0x02
    _BENEATH = 0x08
    _IN_ROOT = 0x10
    BENEATH = _BENEATH | _NO_MAGICLINKS
    """A step out of the directory fails with EXDEV."""
    IN_ROOT = _IN_ROOT | _NO_MAGICLINKS
    """The directory is the root of everything: absolute links and ``..`` stay in it."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str, flags: int, resolve: Resolve) -> int:
    """A new descriptor (close-on-exec) of what ``path`` leads to. Raises OSError."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_ATTEMPTS):  # EAGAIN: a rename elsewhere raced with the look-up
        fd = int(
            _libc.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(dir_fd),
                ctypes.c_char_p(os.fsencode(path)),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EAGAIN:
            break
    raise OSError(code, os.strerror(code), path)
