"""How much an archive may turn into.

A few kilobytes can unpack to terabytes, or to millions of files. What a download may become is bounded by
what was downloaded; nobody has to know beforehand how big apps are.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from executor.cache.api import ArchiveError

_NAME_BYTES = 256
"""Of names, on average and at most, for each member that is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """Bounds for one archive, in the download cache and on the way into a container.

    free_bytes: it may always unpack to that many. ratio: beyond, to that many for each packed byte; text
    packs 20 to 1, a file of zeros 1000 to 1. members: files, directories and links in it; more than the
    inodes of a container's disk are of no use. depth: directories inside each other.
    """

    free_bytes: int = 2 << 30
    ratio: int = 100
    members: int = 500_000
    depth: int = 200

    def bytes_for(self, packed_bytes: int) -> int:
        """What an archive of that size may unpack to."""
        return max(self.free_bytes, self.ratio * packed_bytes)


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(slots=True)
class Budget:
    """What one archive may still take. Used in the thread that works on it; setting ``revoked`` from anywhere
    ends that work at its next step.

    Raises ArchiveError when it is spent or revoked.
    """

    limits: ArchiveLimits
    packed_bytes: int
    revoked: threading.Event = field(default_factory=threading.Event)
    _bytes: int = 0
    _members: int = 0
    _name_bytes: int = 0

    def take_bytes(self, size: int) -> None:
        """Unpacked bytes are about to be written."""
        self._bytes += size
        if self._bytes > (most := self.limits.bytes_for(self.packed_bytes)):
            raise ArchiveError(f"archive refused: {self.packed_bytes} bytes unpack to more than {most}")
        self._go_on()

    def take_member(self, name: str = "") -> None:
        """A member comes. name: where whoever works on it has to remember it."""
        self._members += 1
        self._name_bytes += len(name)
        if self._members > self.limits.members:
            raise ArchiveError(f"archive refused: it has more than {self.limits.members} members")
        if self._name_bytes > (most := self.limits.members * _NAME_BYTES):
            raise ArchiveError(f"archive refused: the names of its members have more than {most} bytes")
        self._go_on()

    def take_depth(self, depth: int, name: str) -> None:
        """A member goes that many directories deep."""
        if depth > self.limits.depth:
            raise ArchiveError(
                f"archive member {name!r} is refused: more than {self.limits.depth} directories deep"
            )

    def anew(self, packed_bytes: int) -> Budget:
        """As much again, for the next stage of the same work."""
        return Budget(self.limits, packed_bytes, self.revoked)

    def _go_on(self) -> None:
        if self.revoked.is_set():
            raise ArchiveError("archive abandoned: nobody waits for it any more")
