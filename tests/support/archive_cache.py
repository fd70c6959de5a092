"""A download cache whose web is one body, and what becomes of archives in it."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.cache.api import Checksum, DownloadError, Progress
from executor.cache.downloader import Downloader
from executor.cache.http import Answer, Validators
from executor.cache.tars import members


class Source:
    """Stands in for the web: answers every request with ``body``."""

    body = b""

    async def get(
        self, url: str, known: Validators, checksum: Checksum, target: Path, progress: Progress | None = None
    ) -> Answer:
        target.write_bytes(self.body)
        return Answer(size=len(self.body), validators=Validators(etag="1"))


class Cache:
    """The download cache, and its two ways to an archive."""

    def __init__(self, downloader: Downloader, source: Source) -> None:
        self.downloader = downloader
        self.source = source
        self._keys = itertools.count()

    async def file(self, body: bytes) -> list[str]:
        """The members of the tar that a download gets."""
        self.source.body = body
        fetched = await self.downloader.fetch_file("http://blobs/it", str(next(self._keys)))
        try:
            with fetched.path.open("rb") as tar:
                return [member.name for member in members(tar.fileno())]
        finally:
            fetched.release()

    async def directory(self, body: bytes) -> dict[str, Any]:
        """What a cached dependency becomes."""
        self.source.body = body
        fetched = await self.downloader.fetch_directory("http://blobs/it", str(next(self._keys)))
        try:
            return tree(fetched.path)
        finally:
            fetched.release()

    async def refuse(self, body: bytes, label: object) -> str:
        """The text of the error with which both ways fail."""
        texts = []
        for fetch in (self.file, self.directory):
            try:
                found = await fetch(body)
            except DownloadError as error:
                texts.append(str(error))
            else:
                pytest.fail(f"{label} passed {fetch.__name__}: {found}")
        assert texts[0] == texts[1]
        return texts[0]


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    source = Source()
    async with Downloader(source, tmp_path / "cache", 1 << 30) as downloader:
        yield Cache(downloader, source)
        assert list((tmp_path / "cache/temp").iterdir()) == []


def tree(folder: Path) -> dict[str, Any]:
    """Names below a folder, with content, target of the link, or mode."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else stat.S_IMODE(path.stat().st_mode)
    return found
