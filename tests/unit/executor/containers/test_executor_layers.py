"""Layers on top of preloaded roots: the URI, the fetch, the release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from executor.cache.api import NO_CHECKSUM, Checksum, DownloadError, Fetched, Progress
from executor.containers.layers import CachedLayers, Layer, NoLayers, parse_layer
from executor.engine.api import EngineContainer
from executor.errors import ImageError
from executor.places import FairPlaces

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

pytestmark = pytest.mark.unit

URI = "preloaded+layer:/stack.tar?layer=http%3A%2F%2Fblobs%2Fd.tgz&layer_path=%2Fhome%2Fvcap&layer_digest=ab"
MADE = EngineContainer(guid="ig", id="id", init_pid=1, address="")


class OneFile:
    """Has one file, and remembers what was asked and given back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Checksum]] = []
        self.released = 0

    async def fetch_file(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        self.asked.append((url, cache_key, checksum))
        if "missing" in url:
            raise DownloadError("404")
        return Fetched(Path("/cache/d.tar"), 5, self._release)

    def _release(self) -> None:
        self.released += 1


def test_a_layer_is_in_the_query() -> None:
    assert parse_layer(URI) == Layer(url="http://blobs/d.tgz", path="/home/vcap", digest="ab")
    assert parse_layer("preloaded:/stack.tar") is None
    assert parse_layer("docker:///a/b?layer=x") is None


@pytest.mark.parametrize("missing", ["layer", "layer_path", "layer_digest"])
def test_every_part_of_it_is_needed(missing: str) -> None:
    uri = URI.replace(f"{missing}=", "other=")
    with pytest.raises(ImageError, match=f"no query parameter '{missing}' found in URL preloaded"):
        parse_layer(uri)


async def test_a_layer_is_fetched_by_its_digest_unpacked_and_given_back(world: World) -> None:
    cache = OneFile()
    layers = CachedLayers(cache, FairPlaces(1), world.engine)
    async with layers.held(URI) as unpack:
        await unpack(MADE)
        assert cache.released == 0
    assert cache.asked == [("http://blobs/d.tgz", "sha256:ab", Checksum(algorithm="sha256", value="ab"))]
    assert cache.released == 1
    assert world.engine.calls == ["stream_in ig"]


async def test_a_failed_creation_gives_the_layer_back(world: World) -> None:
    cache = OneFile()
    with pytest.raises(ImageError, match="no such stack"):
        async with CachedLayers(cache, FairPlaces(1), world.engine).held(URI):
            raise ImageError("no such stack")
    assert cache.released == 1


async def test_a_layer_that_is_not_there(world: World) -> None:
    layers = CachedLayers(OneFile(), FairPlaces(1), world.engine)
    with pytest.raises(DownloadError, match="404"):
        async with layers.held(URI.replace("d.tgz", "missing")):
            raise AssertionError("nothing was fetched")


async def test_roots_without_a_layer_need_nothing(world: World) -> None:
    cache = OneFile()
    for layers in (CachedLayers(cache, FairPlaces(1), world.engine), NoLayers()):
        async with layers.held("preloaded:/stack.tar") as unpack:
            await unpack(MADE)
    assert (cache.asked, world.engine.calls) == ([], [])
    with pytest.raises(ImageError, match="no download cache"):
        async with NoLayers().held(URI):
            raise AssertionError("there is no cache")
