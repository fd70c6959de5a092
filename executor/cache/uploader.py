"""Uploads: a POST of one file, with its digests."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import aiohttp
from tenacity import retry_if_exception_type

from bbs.backoff import Backoff
from common.shielded import finish
from executor.cache.api import Progress, UploadError
from executor.cache.http import shown
from executor.cache.transport import transport_text

BACKOFF = Backoff(attempts=3)
TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=10)
"""Seconds per attempt: in total, and to connect (including the handshake)."""
_CHUNK = 1 << 20


@dataclass(slots=True, eq=False)
class Uploader:
    """Implements ``FileUploader`` with the session's TLS settings."""

    session: aiohttp.ClientSession
    _: KW_ONLY
    timeout: aiohttp.ClientTimeout = TIMEOUT
    backoff: Backoff = BACKOFF

    async def upload(self, path: Path, url: str, *, progress: Progress | None = None) -> int:
        """POST the file, return its size in bytes; up to 3 attempts. A status below 400 is success.

        Raises UploadError with the last attempt's reason, which names the URL without its secrets.
        """
        try:
            headers = await asyncio.to_thread(_headers, path)
        except OSError as error:
            raise UploadError(f"Upload failed: {transport_text(error)}") from error
        retrying = self.backoff.retrying(retry_if_exception_type(UploadError))
        await retrying(self._attempt, path, url, headers, progress)
        return int(headers["Content-Length"])

    async def _attempt(
        self, path: Path, url: str, headers: dict[str, str], progress: Progress | None
    ) -> None:
        loop, total = asyncio.get_running_loop(), int(headers["Content-Length"])

        def sent(done: int) -> None:
            if progress is not None:
                loop.call_soon_threadsafe(progress, done, total)

        try:
            with await finish(asyncio.to_thread(_Watched, path, sent), discard=_Watched.close) as file:
                async with self.session.post(
                    url, data=file, headers=headers, timeout=self.timeout
                ) as response:
                    status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UploadError(f'Post "{shown(url)}": {transport_text(error)}') from error
        if status >= 400:
            raise UploadError(f"Upload failed: Status code {status}")


class _Watched(io.BufferedReader):
    """A file that reports its read position; it is read in threads."""

    def __init__(self, path: Path, report: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._report = report

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._report(self.tell())
        return data


def _headers(path: Path) -> dict[str, str]:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size),
        "Content-MD5": base64.b64encode(md5.digest()).decode(),
        "Content-Digest": f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:",
    }
