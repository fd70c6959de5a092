"""Limits for unpacked archives.

A few kilobytes can unpack to terabytes, or to millions of files. The unpacked size is bounded relative to
the download, so the limits need no estimate of app sizes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from executor.cache.api import ArchiveError

_NAME_BYTES = 256
"""Average bytes of names per allowed member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """Limits of one archive, in the download cache and for copies into containers.

    free_bytes: unpacked size that is always allowed.
    ratio: above that, unpacked bytes per packed byte; text compresses 20 to 1, a file of zeros 1000 to 1.
    members: files, directories and links; more than a container's inodes are useless.
    depth: nested directories.
    """

    free_bytes: int = 2 << 30
    ratio: int = 100
    members: int = 500_000
    depth: int = 200

    def bytes_for(self, packed_bytes: int) -> int:
        """Maximum unpacked size of an archive with ``packed_bytes``."""
        return max(self.free_bytes, self.ratio * packed_bytes)


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(slots=True)
class Budget:
    """Remaining allowance of one archive. It is used in one thread; setting ``revoked`` from any thread ends
    the work at its next step.

    Raises ArchiveError if it is used up or revoked.
    """

    limits: ArchiveLimits
    packed_bytes: int
    revoked: threading.Event = field(default_factory=threading.Event)
    _bytes: int = 0
    _members: int = 0
    _name_bytes: int = 0

    def take_bytes(self, size: int) -> None:
        """Count unpacked bytes before writing them."""
        self._bytes += size
        if self._bytes > (most := self.limits.bytes_for(self.packed_bytes)):
            raise ArchiveError(f"archive refused: {self.packed_bytes} bytes unpack to more than {most}")
        self._go_on()

    def take_member(self, name: str = "") -> None:
        """Count a member. name: if its name must be kept in memory."""
        self._members += 1
        self._name_bytes += len(name)
        if self._members > self.limits.members:
            raise ArchiveError(f"archive refused: it has more than {self.limits.members} members")
        if self._name_bytes > (most := self.limits.members * _NAME_BYTES):
            raise ArchiveError(f"archive refused: the names of its members have more than {most} bytes")
        self._go_on()

    def take_depth(self, depth: int, name: str) -> None:
        """Check the depth of a member, in directories."""
        if depth > self.limits.depth:
            raise ArchiveError(
                f"archive member {name!r} is refused: more than {self.limits.depth} directories deep"
            )

    def renewed(self, packed_bytes: int) -> Budget:
        """A new budget with the same limits, for the next stage of the same work."""
        return Budget(self.limits, packed_bytes, self.revoked)

    def _go_on(self) -> None:
        if self.revoked.is_set():
            raise ArchiveError("archive abandoned: the work was cancelled")
