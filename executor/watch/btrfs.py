"""What btrfs knows of a subvolume: the bytes that no other one has, counted by its quota groups.

The two calls are the file system's own (``linux/btrfs.h``); there is no library for them in Python. Numbers
are those of the last transaction, up to half a minute old.
"""

from __future__ import annotations

import fcntl
import os
import struct

_SIZE = 4096
_TREE_SEARCH = 0xD000_9411
_INO_LOOKUP = 0xD000_9412

_QUOTA_TREE = 8
_FIRST_FREE_OBJECT = 256
_QGROUP_INFO = 242
_MAX = 2**64 - 1

_KEY = struct.Struct("=7Q4I4Q")
"""tree; objectid, offset and transaction, each from and to; type from and to; items; unused."""
_HEADER = struct.Struct("=3Q2I")
_INFO = struct.Struct("<5Q")
"""generation, referenced, referenced compressed, exclusive, exclusive compressed."""


def exclusive_bytes(path: str) -> int:
    """Bytes of the subvolume that ``path`` is the root of and that it shares with no other.

    Raises OSError: no btrfs, quotas are off, or no permission.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lookup = bytearray(struct.pack("=2Q", 0, _FIRST_FREE_OBJECT).ljust(_SIZE, b"\0"))
        fcntl.ioctl(fd, _INO_LOOKUP, lookup)
        (subvolume,) = struct.unpack_from("=Q", lookup)
        key = _KEY.pack(
            _QUOTA_TREE, 0, 0, subvolume, subvolume, 0, _MAX, _QGROUP_INFO, _QGROUP_INFO, 1, 0, 0, 0, 0, 0
        )
        found = bytearray(key.ljust(_SIZE, b"\0"))
        fcntl.ioctl(fd, _TREE_SEARCH, found)
    finally:
        os.close(fd)
    items = _KEY.unpack_from(found)[9]
    return int(_INFO.unpack_from(found, _KEY.size + _HEADER.size)[3]) if items else 0
