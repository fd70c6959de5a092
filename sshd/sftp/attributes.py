"""File attributes in the SFTP encoding, and ``ls -l`` lines."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass

from sshd.wire import Reader, uint32, uint64

SIZE, OWNER, PERMISSIONS, TIMES = 1, 2, 4, 8
EXTENDED = 0x80000000

NONE = uint32(0)

_HALF_A_YEAR = 365 * 86400 // 2


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes a client sets.

    None means unchanged. ``owner`` is (uid, gid); ``times`` is (access, modification).
    """

    size: int | None = None
    owner: tuple[int, int] | None = None
    permissions: int | None = None
    times: tuple[int, int] | None = None


def read_attributes(reader: Reader) -> Attributes:
    """Raises ``Malformed``."""
    flags = reader.uint32()
    size = reader.uint64() if flags & SIZE else None
    owner = (reader.uint32(), reader.uint32()) if flags & OWNER else None
    permissions = reader.uint32() if flags & PERMISSIONS else None
    times = (reader.uint32(), reader.uint32()) if flags & TIMES else None
    if flags & EXTENDED:
        for _ in range(reader.uint32()):
            reader.string(), reader.string()
    return Attributes(size, owner, permissions, times)


def attributes(of: os.stat_result) -> bytes:
    return (
        uint32(SIZE | OWNER | PERMISSIONS | TIMES)
        + uint64(of.st_size)
        + uint32(of.st_uid & 0xFFFFFFFF)
        + uint32(of.st_gid & 0xFFFFFFFF)
        + uint32(of.st_mode)
        + uint32(int(of.st_atime) & 0xFFFFFFFF)
        + uint32(int(of.st_mtime) & 0xFFFFFFFF)
    )


class Owners:
    """User and group names from the container's own files, without a library or look-up service."""

    def __init__(self, users: str = "/etc/passwd", groups: str = "/etc/group") -> None:
        self._users = _names(users)
        self._groups = _names(groups)

    def user(self, uid: int) -> str:
        return self._users.get(str(uid), str(uid))

    def group(self, gid: int) -> str:
        return self._groups.get(str(gid), str(gid))


def _names(path: str) -> dict[str, str]:
    names: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(":")
                if len(fields) > 2:
                    names.setdefault(fields[2], fields[0])
    except OSError:
        return {}
    return names


def long_name(name: str, of: os.stat_result, owners: Owners, now: float) -> str:
    """A line like in ``ls -l``; files that are not recent show the year instead of the time."""
    when = time.localtime(of.st_mtime)
    recent = abs(now - of.st_mtime) < _HALF_A_YEAR
    clock = time.strftime("%H:%M" if recent else " %Y", when)
    date = f"{time.strftime('%b', when)} {when.tm_mday:2d} {clock}"
    return (
        f"{stat.filemode(of.st_mode)} {of.st_nlink:4d} {owners.user(of.st_uid):<8} "
        f"{owners.group(of.st_gid):<8} {of.st_size:8d} {date} {name}"
    )
