"""Layers on top of a preloaded root: fetched through the download cache, unpacked in the new container.

The root filesystem URI names the layer:
``preloaded+layer:PATH?layer=URL&layer_path=DIR&layer_digest=SHA256``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs

from executor.cache.api import ArchiveFetcher, Checksum
from executor.engine.api import Engine, EngineContainer
from executor.errors import ImageError
from executor.places import FairPlaces

SCHEME = "preloaded+layer:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A .tgz file: its URL, its destination in the container and the expected SHA-256."""

    url: str
    path: str
    digest: str


Unpack = Callable[[EngineContainer], Awaitable[None]]
"""Unpacks a fetched layer into a new container. Raises EngineError."""


class Layers(Protocol):
    """Fetches the layers of containers."""

    def held(self, root_fs: str) -> AbstractAsyncContextManager[Unpack]:
        """Fetch the layer of a root filesystem and pin it while the context lasts.

        Yields a no-op if the URI names no layer. Raises ImageError, DownloadError on entry.
        """
        ...


class NoLayers:
    """Implements :class:`Layers` for a cell without download cache."""

    @asynccontextmanager
    async def held(self, root_fs: str) -> AsyncIterator[Unpack]:
        if parse_layer(root_fs) is not None:
            raise ImageError(f"rootfs {root_fs!r}: this cell has no download cache for layers")
        yield _nothing


class CachedLayers:
    """Implements :class:`Layers`. slots: the download limiter of the cell."""

    def __init__(self, fetcher: ArchiveFetcher, slots: FairPlaces, engine: Engine) -> None:
        self._fetcher = fetcher
        self._slots = slots
        self._engine = engine

    @asynccontextmanager
    async def held(self, root_fs: str) -> AsyncIterator[Unpack]:
        layer = parse_layer(root_fs)
        if layer is None:
            yield _nothing
            return
        checksum = Checksum(algorithm="sha256", value=layer.digest)
        async with self._slots.of(layer):
            fetched = await self._fetcher.fetch_file(layer.url, f"sha256:{layer.digest}", checksum)
        try:
            yield lambda container: self._engine.stream_in(container, layer.path, "", str(fetched.path))
        finally:
            fetched.release()


async def _nothing(_container: EngineContainer) -> None:
    """Unpack nothing: the root filesystem has no layer."""


def parse_layer(root_fs: str) -> Layer | None:
    """The layer of a root filesystem URI; None without one. Raises ImageError if a parameter is missing."""
    if not root_fs.startswith(SCHEME):
        return None
    query = parse_qs(root_fs.partition("?")[2])

    def parameter(name: str) -> str:
        if name not in query:
            raise ImageError(f"no query parameter '{name}' found in URL {root_fs}")
        return query[name][-1]

    return Layer(url=parameter("layer"), path=parameter("layer_path"), digest=parameter("layer_digest"))
