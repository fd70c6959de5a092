"""Cached dependencies of containers: directories of the download cache, mounted read-only.

All dependencies of a container are fetched in parallel. Each fetch takes a slot of the limiter shared with
the download steps. A fetched directory stays pinned in the cache until the container is destroyed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from bbs.models.workload import CachedDependency
from common.gotext import format_size
from executor.cache.api import ArchiveFetcher, Checksum, DownloadError, Fetched
from executor.containers.applog import AppLog
from executor.engine.api import BindMount
from executor.model import Container
from executor.places import FairPlaces


class CachedDependencies:
    """Fetches, pins and releases cached dependencies. slots: the download limiter of the cell."""

    def __init__(self, fetcher: ArchiveFetcher, slots: FairPlaces, app_log: AppLog) -> None:
        self._fetcher = fetcher
        self._slots = slots
        self._app_log = app_log
        self._held: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    async def mounts(self, container: Container) -> tuple[BindMount, ...]:
        """Fetch all dependencies; the first failure cancels the others. Raises DownloadError."""
        wanted = container.run_info.cached_dependencies
        try:
            async with asyncio.TaskGroup() as group:
                fetches = [group.create_task(self._fetch(container, one)) for one in wanted]
        except* DownloadError as errors:
            raise DownloadError("; ".join(map(str, errors.exceptions))) from errors
        return tuple(
            BindMount(source=str(fetch.result().path), target=one.to)
            for fetch, one in zip(fetches, wanted, strict=True)
        )

    def adopt(self, guid: str, mounted: Sequence[str]) -> None:
        """Pin the directories that are mounted in a container of a previous process."""
        held = (self._fetcher.hold(Path(path)) for path in mounted)
        self._held[guid] += [release for release in held if release is not None]

    async def sweep(self) -> None:
        """Delete what a previous process left in the cache and no adopted container has mounted."""
        await self._fetcher.sweep()

    async def release(self, guid: str) -> None:
        """Unpin the directories of a container."""
        for release in self._held.pop(guid, ()):
            release()

    async def _fetch(self, container: Container, dependency: CachedDependency) -> Fetched:
        self._write(container, dependency, f"Downloading {dependency.name}...")
        try:
            async with self._slots.of(container.guid):
                fetched = await self._fetcher.fetch_directory(
                    dependency.from_,
                    dependency.cache_key,
                    Checksum(algorithm=dependency.checksum_algorithm, value=dependency.checksum_value),
                )
        except DownloadError:
            self._write(container, dependency, f"Downloading {dependency.name} failed")
            raise
        self._held[container.guid].append(fetched.release)
        size = f" ({format_size(fetched.size)})" if fetched.size else ""
        self._write(container, dependency, f"Downloaded {dependency.name}{size}")
        return fetched

    def _write(self, container: Container, dependency: CachedDependency, text: str) -> None:
        if dependency.name:
            self._app_log.write(container.run_info.log_config, text, source=dependency.log_source)
