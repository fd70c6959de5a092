"""HTTP client of the cache: a conditional GET into a file, with retries."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO

import aiohttp
from yarl import URL

from common.shielded import finish
from executor.cache.api import ArchiveError, Checksum, DownloadError, Progress
from executor.cache.checksum import Digests
from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits
from executor.cache.transport import InvalidURL, check_url, transport_text

logger = logging.getLogger(__name__)

ATTEMPTS = 4
MAX_FETCHES = 127
MAX_REDIRECTS = 10
TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=10, sock_read=10)
"""Seconds per attempt: in total, to connect (including the handshake), between two reads."""
_CHUNK = 1 << 18


def back_off(failures: int) -> float:
    """Pause in s after a failed attempt; ``failures``: number of earlier failures."""
    return min(0.5 * 2.0**failures, 5.0) + random.randrange(199) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """Cache validators of a server's answer."""

    etag: str = ""
    last_modified: str = ""

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a conditional request."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


NO_VALIDATORS = Validators()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Result of a GET: ``size`` bytes in the file, with their digests (hex, by algorithm), or not
    modified.
    """

    not_modified: bool = False
    size: int = 0
    validators: Validators = NO_VALIDATORS
    digests: Mapping[str, str] = field(default_factory=dict)


class Fetcher:
    """GETs with the session's TLS settings. pause: see :func:`back_off`. limits: for the size of decompressed
    answers.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        pause: Callable[[int], float] = back_off,
        limits: ArchiveLimits = DEFAULT_LIMITS,
    ) -> None:
        self._session = session
        self._timeout = timeout
        self._pause = pause
        self._limits = limits
        self._places = asyncio.Semaphore(MAX_FETCHES)

    async def get(
        self,
        url: str,
        known: Validators,
        checksum: Checksum,
        target: Path,
        progress: Progress | None = None,
    ) -> Answer:
        """Download ``url`` to ``target`` unless ``known`` is still valid.

        Up to 4 attempts, with a pause after each failure. Raises DownloadError with the last attempt's
        reason; ChecksumError and ArchiveError without retries.
        """
        try:
            check_url(url)
        except InvalidURL as error:
            raise DownloadError(str(error)) from error
        async with self._places:
            for failures in range(ATTEMPTS):
                try:
                    return await self._attempt(url, known, checksum, target, progress)
                except (aiohttp.ClientError, TimeoutError, _BadStatus) as error:
                    failure = error
                    data = {"source": shown(url), "attempt": failures + 1, "error": transport_text(error)}
                    logger.info("download.attempt-failed", extra={"data": data})
                except (OSError, ValueError) as error:
                    raise DownloadError(f"Download failed: {transport_text(error)} ({shown(url)})") from error
                await asyncio.sleep(self._pause(failures))
        raise DownloadError(f"Download failed: {transport_text(failure)} ({shown(url)})") from failure

    async def _attempt(
        self, url: str, known: Validators, checksum: Checksum, target: Path, progress: Progress | None
    ) -> Answer:
        headers = {"Accept-Encoding": "gzip", **known.headers}
        async with self._session.get(
            url, headers=headers, timeout=self._timeout, max_redirects=MAX_REDIRECTS
        ) as response:
            if response.status == 304 and known:
                return Answer(not_modified=True, validators=known)
            if response.status != 200:
                raise _BadStatus(f"Status code {response.status}")
            # Content-Length counts compressed bytes; the body is decompressed already.
            total = None if "Content-Encoding" in response.headers else response.content_length
            digests = Digests(checksum)
            with await finish(asyncio.to_thread(target.open, "wb"), discard=BufferedWriter.close) as file:
                size = 0
                async for chunk in response.content.iter_chunked(_CHUNK):
                    await finish(asyncio.to_thread(_take, chunk, file, digests))
                    size += len(chunk)
                    self._bound(size, response.content.total_raw_bytes, url)
                    if progress is not None:
                        progress(size, total)
            found = digests.verified()
            validators = Validators(
                etag=response.headers.get("ETag", ""),
                last_modified=response.headers.get("Last-Modified", ""),
            )
            return Answer(size=size, validators=validators, digests=found)

    def _bound(self, size: int, packed: int, url: str) -> None:
        if size > (most := self._limits.bytes_for(packed)):
            raise ArchiveError(f"Download failed: {packed} bytes unpack to more than {most} ({shown(url)})")


class _BadStatus(Exception):
    """The answer has an unexpected status."""


def _take(chunk: bytes, file: BinaryIO, digests: Digests) -> None:
    file.write(chunk)
    digests.update(chunk)


def origin(url: str) -> str:
    """Scheme, host and port of a URL; empty for one without."""
    with suppress(ValueError):
        return str(URL(url).origin())
    return ""


def shown(url: str) -> str:
    """URL for logs: without credentials and query."""
    with suppress(ValueError):
        return str(URL(url).with_user(None).with_query(None))
    return "an address that cannot be shown"
