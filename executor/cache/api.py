"""Downloads and uploads as the rest of the executor sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from executor.errors import ExecutorError


class DownloadError(ExecutorError):
    """A fetch failed; the text names the reason and the source. Users see the step's own text instead."""

    text = "download failed"


class ChecksumError(DownloadError):
    """The bytes are not the expected ones, or the expectation itself is malformed. Never retried."""

    text = "checksum failed"


class ArchiveError(DownloadError):
    """Not an archive we know, a broken one, one that reaches out of its destination, or one that becomes too
    much when it is unpacked."""

    text = "unknown archive format"


class UploadError(ExecutorError):
    """An upload failed; the text becomes the failure reason as it is."""

    text = "upload failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """What the downloaded bytes must hash to; active when either part is given.

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

    size: bytes transferred, 0 when nothing was (cache hit). release: may be called more than once.
    """

    path: Path
    size: int
    release: Callable[[], None] = field(compare=False)


Progress = Callable[[int, int | None], None]
"""Hears of bytes transferred so far, and of how many there are in all where that is known. In the event loop;
a transfer that is tried again begins again at 0."""


class FileFetcher(Protocol):
    """Gets tar files."""

    async def fetch_file(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        """The tar behind ``url``. Raises DownloadError."""
        ...


class DirectoryFetcher(Protocol):
    """Gets unpacked directories."""

    async def fetch_directory(self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM) -> Fetched:
        """The directory an archive unpacks to. Raises DownloadError."""
        ...


class FileUploader(Protocol):
    """Posts files."""

    async def upload(self, path: Path, url: str, *, progress: Progress | None = None) -> int:
        """POST a file, answer its size in bytes. Raises UploadError, InvalidURL."""
        ...
