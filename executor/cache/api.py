"""Interfaces and errors of downloads and uploads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from executor.errors import ExecutorError


class DownloadError(ExecutorError):
    """A fetch failed; the text has the reason and the source. Users see the step's own text instead."""

    text = "download failed"


class ChecksumError(DownloadError):
    """The downloaded bytes do not match, or the checksum is malformed. Never retried."""

    text = "checksum failed"


class ArchiveError(DownloadError):
    """The archive has an unknown format, is broken, has a path outside the destination, or exceeds a limit
    when unpacked.
    """

    text = "unknown archive format"


class UploadError(ExecutorError):
    """An upload failed; the text becomes the failure reason unchanged."""

    text = "upload failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """Expected checksum of downloaded bytes; active if either part is given.

    algorithm: md5, sha1, sha256 or sha512. value: hex digits, possibly in double quotes.
    """

    algorithm: str = ""
    value: str = ""

    @property
    def active(self) -> bool:
        return bool(self.algorithm or self.value)


NO_CHECKSUM = Checksum()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A tar file or a directory of the cache, held until it is released.

    size: bytes transferred, 0 for a cache hit. release: may be called more than once.
    """

    path: Path
    size: int
    release: Callable[[], None] = field(compare=False)


Progress = Callable[[int, int | None], None]
"""Called in the event loop with the bytes transferred so far and the total (None if unknown). A retry starts
again at 0.
"""


class ArchiveFetcher(Protocol):
    """Fetches archives, as tar files or as unpacked directories."""

    async def fetch_file(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        """The tar at ``url``. Raises DownloadError."""
        ...

    async def fetch_directory(self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM) -> Fetched:
        """The unpacked directory of an archive. Raises DownloadError."""
        ...

    def hold(self, path: Path) -> Callable[[], None] | None:
        """Hold an item that a previous process fetched; returns its release, None for a foreign path."""
        ...

    async def sweep(self) -> None:
        """Delete the items of a previous process that are neither current nor held. Raises OSError."""
        ...


class FileUploader(Protocol):
    """Uploads files."""

    async def upload(self, path: Path, url: str, *, progress: Progress | None = None) -> int:
        """POST a file, return its size in bytes. Raises UploadError, InvalidURL."""
        ...
