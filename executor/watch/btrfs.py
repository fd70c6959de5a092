"""Exclusive size of a btrfs subvolume, from its quota group.

The two ioctls are from ``linux/btrfs.h``; no Python library provides them. The numbers are those of the last
transaction, up to 30 s old.
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
"""Fields: tree; from and to of objectid, offset and transaction; from and to of type; items; unused."""
_HEADER = struct.Struct("=3Q2I")
_INFO = struct.Struct("<5Q")
"""Fields: generation, referenced, referenced compressed, exclusive, exclusive compressed."""


def exclusive_bytes(path: str) -> int:
    """The bytes of the subvolume with root ``path`` that no other subvolume shares.

    Raises OSError without btrfs, quotas or permission.
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
