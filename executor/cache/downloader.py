"""Cached downloader: files and directories by cache key, revalidated at every fetch, held while in use.

The entry of a cache key includes the origin of the URL, so that no server can replace another one's
content. ETag and Last-Modified show whether the content has changed. A requested checksum must match the
digest stored with the entry. Fetches of a key run one at a time; waiting fetches with the same URL and
checksum share the result. A failed download never falls back to the previous content.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.metrics.instruments import Instruments
from common.shielded import finish
from executor.cache.api import NO_CHECKSUM, ArchiveError, Checksum, DownloadError, Fetched, Progress
from executor.cache.archive import extract, tar_directory, to_tar
from executor.cache.checksum import fits
from executor.cache.http import NO_VALIDATORS, Answer, Fetcher, origin, shown
from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits, Budget
from executor.cache.store import Form, Store, Version, delete, write_index
from executor.pools import ARCHIVES
from executor.telemetry import families

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _LastFetch:
    """The last fetch of a key: request, time of the answer (monotonic s), and resulting version."""

    url: str
    checksum: Checksum
    answered: float
    version: Version


@dataclass(slots=True)
class _Barrier:
    """Serializes the fetches of a key; exists while any fetch uses it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
    last: _LastFetch | None = None

    def shared(self, url: str, checksum: Checksum, since: float) -> Version | None:
        """The version that an equal fetch got after ``since``, if any."""
        last = self.last
        if last is None or (last.url, last.checksum) != (url, checksum) or last.answered < since:
            return None
        return last.version


@contextmanager
def _disk_errors(url: str) -> Iterator[None]:
    """Convert errors of the cache's file system to DownloadError."""
    try:
        yield
    except OSError as error:
        logger.error("cached-downloader.disk-trouble", extra={"data": {"error": str(error)}})
        raise DownloadError(f"Download failed: {error.strerror or 'disk error'} ({shown(url)})") from error


@contextmanager
def _released_unless_returned() -> Iterator[list[Fetched]]:
    """A holder for a fetched item, which is released on failure unless it was taken out."""
    fetched: list[Fetched] = []
    try:
        yield fetched
    finally:
        for each in fetched:
            each.release()


class Downloader:
    """Implements ``ArchiveFetcher``.

    Use with ``async with``: entering recovers the cache directory, leaving writes its index. Versions that a
    previous process replaced may still be mounted in containers: :meth:`hold` those, then :meth:`sweep`.
    max_bytes: limit of the cache's content; items in use, or above the limit, are kept regardless. limits:
    for each archive.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        path: Path,
        max_bytes: int,
        *,
        limits: ArchiveLimits = DEFAULT_LIMITS,
        instruments: Instruments | None = None,
    ) -> None:
        self._instruments = instruments or Instruments()
        self._max_bytes = max_bytes
        self._fetcher = fetcher
        self._path = path
        self._limits = limits
        self._store = Store(path, max_bytes)
        self._barriers: dict[str, _Barrier] = {}
        self._garbage: list[Path] = []
        self._saving = asyncio.Lock()
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Downloader:
        await asyncio.to_thread(self._store.recover)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeping is not None:
            await finish(self._sweeping)
        await self._tidy()

    def hold(self, path: Path) -> Callable[[], None] | None:
        """Pin a version of the previous process by the path of one of its forms."""
        found = self._store.find(path)
        if found is None:
            return None
        return self._pinned(*found)

    async def sweep(self) -> None:
        """Delete the versions of the previous process that are neither current nor held."""
        self._garbage += self._store.unclaimed()
        await self._tidy()

    @property
    def footprint(self) -> int:
        """Size of all entries in bytes."""
        return self._store.footprint

    def report(self, instruments: Instruments) -> None:
        """Set the gauges of the cache."""
        instruments.set(families.CACHE_BYTES, self._store.footprint)
        instruments.set(families.CACHE_LIMIT, self._max_bytes)
        instruments.set(families.CACHE_ENTRIES, len(self._store))

    async def fetch_file(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        """The tar at ``url``. With an empty key or without validators it is not cached, and deleted on
        release.
        """
        with self._measured(), _disk_errors(url):
            if not cache_key:
                return await self._fetch_uncached(url, checksum, progress)
            return await self._fetch(url, cache_key, checksum, Form.FILE, progress)

    async def fetch_directory(self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM) -> Fetched:
        """The unpacked directory of an archive, which must be cacheable."""
        if not cache_key:
            raise DownloadError("Not cacheable directory: cache key is missing")
        with self._measured(), _disk_errors(url):
            return await self._fetch(url, cache_key, checksum, Form.DIRECTORY)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        try:
            with self._instruments.timed(families.FETCH_DURATION):
                yield
        except DownloadError:
            self._instruments.count(families.CACHE_FETCHES, "failed")
            raise

    def _fetched(self, result: str, downloaded_bytes: int = 0) -> None:
        self._instruments.count(families.CACHE_FETCHES, result)
        self._instruments.count(families.DOWNLOADED_BYTES, by=downloaded_bytes)

    async def _fetch_uncached(self, url: str, checksum: Checksum, progress: Progress | None) -> Fetched:
        body = self._store.temp()
        with _released_unless_returned() as fetched:
            try:
                answer = await self._fetcher.get(url, NO_VALIDATORS, checksum, body, progress)
                self._fetched("uncached", answer.size)
                fetched.append(self._own(await self._convert(body), answer.size))
            finally:
                self._garbage.append(body)
                await self._sweep()
            return fetched.pop()

    async def _fetch(
        self, url: str, cache_key: str, checksum: Checksum, form: Form, progress: Progress | None = None
    ) -> Fetched:
        named = f"{origin(url)}\0{cache_key}".encode("utf-8", "surrogateescape")
        key = hashlib.md5(named, usedforsecurity=False).hexdigest()
        begun = time.monotonic()
        stage = "download-barrier"
        try:
            async with self._barrier(key) as barrier:
                stage = "fetch-request"
                known = self._store.entry(key)
                if known is not None and barrier.shared(url, checksum, begun) is known:
                    self._fetched("hit")
                    return await self._provide(known, form, 0)
                if known is not None and not fits(checksum, known.digests):
                    known = None  # it stays for fetches without this checksum
                body = self._store.temp()
                with _released_unless_returned() as fetched:
                    try:
                        answer = await self._revalidate(url, known, checksum, body, progress)
                        if answer.not_modified and known is not None:
                            self._fetched("hit")
                            fetched.append(await self._provide(known, form, 0))
                        else:
                            self._fetched("miss", answer.size)
                            fetched.append(await self._renew(key, answer, body, form))
                        if (current := self._store.entry(key)) is not None:
                            barrier.last = _LastFetch(url, checksum, time.monotonic(), current)
                    finally:
                        self._garbage.append(body)
                        await self._tidy()
                    return fetched.pop()
        except asyncio.CancelledError:
            data = {"source": shown(url), "stage": stage, "seconds": round(time.monotonic() - begun, 3)}
            logger.info("download.cancelled", extra={"data": data})
            raise

    async def _revalidate(
        self, url: str, known: Version | None, checksum: Checksum, body: Path, progress: Progress | None
    ) -> Answer:
        """Request a newer version than ``known``, which is pinned meanwhile."""
        if known is None:
            return await self._fetcher.get(url, NO_VALIDATORS, checksum, body, progress)
        self._store.pin(known, Form.FILE)
        try:
            return await self._fetcher.get(url, known.validators, checksum, body, progress)
        finally:
            self._garbage += self._store.unpin(known, Form.FILE)

    async def _renew(self, key: str, answer: Answer, body: Path, form: Form) -> Fetched:
        """Create a version from a downloaded body."""
        if not answer.validators:
            self._garbage += self._store.remove(key)
            if form is Form.DIRECTORY:
                raise DownloadError(
                    "Not cacheable directory: ETag and Last-Modified were missing from response"
                )
            return self._own(await self._convert(body), answer.size)
        tar = await self._convert(body)
        size = tar.stat().st_size
        self._garbage += self._store.remove(key)
        self._garbage += self._store.make_room(size)
        version = Version(key, self._store.new_base(key), size, answer.validators, dict(answer.digests))
        tar.rename(version.base)
        version.forms.add(Form.FILE)
        self._garbage += self._store.put(version)
        return await self._provide(version, form, answer.size)

    async def _provide(self, version: Version, form: Form, size: int) -> Fetched:
        """The requested form of a version, created from the other one if needed, and pinned."""
        other = Form.DIRECTORY if form is Form.FILE else Form.FILE
        if form not in version.forms:
            self._store.pin(version, other)
            try:
                await self._make(version, form)
            finally:
                self._garbage += self._store.unpin(version, other)
            self._garbage += self._store.drop(version, other)
        return Fetched(version.path(form), size, self._pinned(version, form))

    def _pinned(self, version: Version, form: Form) -> Callable[[], None]:
        """Pin a form of a version; returns its release, which may be called more than once."""
        self._store.pin(version, form)
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._garbage += self._store.unpin(version, form)
                self._sweep_soon()

        return release

    async def _make(self, version: Version, form: Form) -> None:
        self._garbage += self._store.make_room(version.size)
        temp = self._store.temp()
        try:
            if form is Form.DIRECTORY:
                await self._blocking(extract, version.path(Form.FILE), temp)
            else:
                await self._blocking(tar_directory, version.path(Form.DIRECTORY), temp)
        except BaseException:
            self._garbage.append(temp)  # only on failure, because every fetch sweeps the garbage of all
            raise
        temp.rename(version.path(form))
        version.forms.add(form)

    async def _convert(self, body: Path) -> Path:
        """Convert a downloaded body to a temporary tar."""
        tar = self._store.temp()
        try:
            await self._blocking(to_tar, body, tar)
        except BaseException:
            self._garbage.append(tar)
            raise
        return tar

    async def _blocking(self, work: Callable[[Path, Path, Budget], None], source: Path, target: Path) -> None:
        """Process an archive in a thread. Cancellation ends the work and waits for it."""
        budget = Budget(self._limits, source.stat().st_size if source.is_file() else 0)
        try:
            await finish(ARCHIVES.run(work, source, target, budget), abort=budget.revoked.set)
        except OSError as error:
            logger.error("cached-downloader.failed-to-unpack", extra={"data": {"error": str(error)}})
            raise ArchiveError(f"cannot unpack: {error.strerror or 'disk error'}") from error

    @asynccontextmanager
    async def _barrier(self, key: str) -> AsyncIterator[_Barrier]:
        barrier = self._barriers.setdefault(key, _Barrier())
        barrier.wanted += 1
        try:
            async with barrier.lock:
                yield barrier
        finally:
            barrier.wanted -= 1
            if not barrier.wanted:
                del self._barriers[key]

    async def _tidy(self) -> None:
        """Delete garbage and persist the index."""
        await self._sweep()
        async with self._saving:
            try:
                await finish(asyncio.to_thread(write_index, self._path, self._store.index()))
            except OSError as error:
                logger.error("cached-downloader.failed-to-save-index", extra={"data": {"error": str(error)}})

    def _own(self, tar: Path, size: int) -> Fetched:
        """A tar outside the cache."""

        def release() -> None:
            self._garbage += self._store.aside(tar)
            self._sweep_soon()

        return Fetched(tar, size, release)

    def _sweep_soon(self) -> None:
        """Delete released files in the background: gigabytes take time."""
        if self._garbage and (self._sweeping is None or self._sweeping.done()):
            self._sweeping = asyncio.create_task(self._sweep_all())

    async def _sweep_all(self) -> None:
        while self._garbage:
            await self._sweep()

    async def _sweep(self) -> None:
        garbage, self._garbage = self._garbage, []
        try:
            await finish(ARCHIVES.run(delete, garbage))
        except (OSError, RecursionError) as error:
            logger.error("cached-downloader.failed-to-delete", extra={"data": {"error": str(error)}})
