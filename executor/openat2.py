"""``openat2``: opens a path that must not leave a directory. Python's ``os`` has no such call."""

from __future__ import annotations

import ctypes
import errno
import os
from enum import IntFlag

_SYS_OPENAT2 = 437  # the same number on every architecture
_ATTEMPTS = 8
_libc = ctypes.CDLL(None, use_errno=True)


class Resolve(IntFlag):
    """Modes of path resolution, see openat2(2). Magic links of /proc are never followed."""

    _NO_MAGICLINKS = 0x02
    _BENEATH = 0x08
    _IN_ROOT = 0x10
    BENEATH = _BENEATH | _NO_MAGICLINKS
    """A path that leaves the directory fails with EXDEV."""
    IN_ROOT = _IN_ROOT | _NO_MAGICLINKS
    """The directory acts as the root: absolute links and ``..`` stay inside it."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str, flags: int, resolve: Resolve) -> int:
    """Open ``path`` and return a close-on-exec descriptor.

    Raises OSError; with EINVAL for a text that is no path: one with a NUL, or with half a character.
    """
    name = _encoded(path)
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_ATTEMPTS):  # EAGAIN: a concurrent rename interfered with the look-up
        fd = int(
            _libc.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(dir_fd),
                ctypes.c_char_p(name),
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


def _encoded(path: str) -> bytes:
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        name = b"\0"
    if b"\0" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return name
