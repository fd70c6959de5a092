"""Cached dependencies: concurrent fetches, log lines, release."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.models.workload import CachedDependency
from executor.cache.api import NO_CHECKSUM, Checksum, DownloadError, Fetched
from executor.containers.applog import AppLog
from executor.containers.dependencies import CachedDependencies
from executor.engine.api import BindMount
from executor.model import Container, LogConfig, RunInfo
from executor.places import FairPlaces

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit


class ScriptedCache:
    """Directories by URL; an unknown one fails, ``slow`` waits."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self.asked: list[tuple[str, str, Checksum]] = []
        self.held: list[str] = []

    async def fetch_directory(self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM) -> Fetched:
        self.asked.append((url, cache_key, checksum))
        if url == "slow":
            await asyncio.Event().wait()
        if url not in self._sizes:
            raise DownloadError(f"{url}: connection refused")
        self.held.append(url)
        return Fetched(Path("/cache", url), self._sizes[url], lambda: self.held.remove(url))

    def hold(self, path: Path) -> Callable[[], None] | None:
        if path.parent != Path("/cache"):
            return None
        self.held.append(path.name)
        return lambda: self.held.remove(path.name)

    async def sweep(self) -> None:
        self.swept = True


def container(*dependencies: CachedDependency) -> Container:
    info = RunInfo(cached_dependencies=dependencies, log_config=LogConfig(guid="lg", source_name="APP"))
    return Container(guid="ig", run_info=info)


async def test_fetched_mounted_told_and_released(world: World) -> None:
    cache = ScriptedCache({"a": 1536, "b": 0, "c": 9})
    dependencies = CachedDependencies(cache, FairPlaces(1), AppLog(world.sink, "c", world.clock))
    mounts = await dependencies.mounts(
        container(
            CachedDependency(name="buildpack", from_="a", to="/tmp/a", cache_key="ka", log_source="BP"),
            CachedDependency(
                name="lifecycle",
                from_="b",
                to="/tmp/b",
                cache_key="kb",
                checksum_algorithm="sha256",
                checksum_value="abc",
            ),
            CachedDependency(from_="c", to="/tmp/c", cache_key="kc"),
        )
    )
    assert mounts == (
        BindMount(source="/cache/a", target="/tmp/a"),
        BindMount(source="/cache/b", target="/tmp/b"),
        BindMount(source="/cache/c", target="/tmp/c"),
    )
    assert ("b", "kb", Checksum(algorithm="sha256", value="abc")) in cache.asked
    assert sorted((line.payload.decode(), line.source_type) for line in world.sink.lines) == [
        ("Downloaded buildpack (1.5K)", "BP"),
        ("Downloaded lifecycle", "APP"),
        ("Downloading buildpack...", "BP"),
        ("Downloading lifecycle...", "APP"),
    ]
    assert sorted(cache.held) == ["a", "b", "c"]
    await dependencies.release("ig")
    await dependencies.release("ig")
    assert cache.held == []


async def test_the_first_failure_cancels_the_others_and_what_is_held_can_be_released(world: World) -> None:
    cache = ScriptedCache({"a": 1})
    dependencies = CachedDependencies(cache, FairPlaces(5), AppLog(world.sink, "c", world.clock))
    with pytest.raises(DownloadError, match="missing: connection refused"):
        await dependencies.mounts(
            container(
                CachedDependency(name="a", from_="a", to="/a", cache_key="a"),
                CachedDependency(name="slow", from_="slow", to="/s", cache_key="s"),
                CachedDependency(name="missing", from_="missing", to="/m", cache_key="m"),
            )
        )
    assert "Downloading missing failed" in world.sink.texts
    assert cache.held == ["a"]
    await dependencies.release("ig")
    assert cache.held == []
