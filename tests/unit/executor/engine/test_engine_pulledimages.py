"""Removal of pulled images: for lack of space, or after a move of their tag."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError, ImageNotFound

from executor.engine.pulledimages import PulledImages

pytestmark = pytest.mark.unit


class FakeAPI:
    """An engine's images: ids by name, and those that containers use."""

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.in_use: set[str] = set()

    def info(self) -> dict[str, Any]:
        return {"DockerRootDir": "/storage"}

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.images:
            raise ImageNotFound(name)
        return {"Id": self.images[name]}

    def remove_image(self, name: str) -> None:
        image = self.images.get(name, name)
        if image in self.in_use:
            response = requests.Response()
            response.status_code = HTTPStatus.CONFLICT
            raise APIError("in use", response=response)
        self.images = {other: id for other, id in self.images.items() if other != name and id != name}


class World:
    """An engine with a disk that images fill by 10 % each, and a clock."""

    def __init__(self, path: Path) -> None:
        self.api = FakeAPI()
        self.base = 0.0
        self.time = 0.0
        self.path = path
        self.restart()

    def restart(self) -> None:
        self.known = PulledImages(self.path, now=lambda: self.time, used_percent=self._used)

    def _used(self, root: str) -> float:
        assert root == "/storage"
        return self.base + 10.0 * len(self.api.images)

    def pull(self, name: str, image: str) -> list[str]:
        self.time += 1000
        before = self.api.images.get(name, "")
        if before and before != image:
            self.api.images[before] = before  # it stays, without a name
        self.api.images[name] = image
        return self.known.pulled(self.api, name, before)  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state/pulled-images.json")


def test_they_stay_as_long_as_there_is_space(world: World) -> None:
    assert [world.pull(name, name) for name in "abcdefgh"] == [[]] * 8


def test_those_not_used_for_the_longest_time_go_when_it_is_short(world: World) -> None:
    """Pulled images were never removed."""
    for name in "abcdefgh":
        world.pull(name, name)
    world.pull("a", "a")
    world.api.in_use.add("b")
    assert world.pull("i", "i") == ["c", "d"]
    assert set(world.api.images) == set("abefghi")


def test_what_was_there_before_the_cell_pulled_it_is_never_removed(world: World) -> None:
    world.api.images["theirs"] = "x"
    world.pull("theirs", "x")
    world.base = 70.0
    assert world.pull("a", "a") == []
    assert world.pull("b", "b") == ["a"]
    assert "theirs" in world.api.images


def test_an_image_that_was_just_pulled_waits_for_its_container(world: World) -> None:
    world.base = 90.0
    assert world.pull("a", "a") == []
    world.time -= 1000
    assert world.pull("b", "b") == []
    assert world.pull("c", "c") == ["a", "b"]


def test_an_earlier_image_of_a_name_goes(world: World) -> None:
    world.pull("a", "first")
    assert world.pull("a", "second") == ["first"]
    assert world.api.images == {"a": "second"}


def test_a_later_life_knows_what_is_the_cells(world: World) -> None:
    world.pull("a", "first")
    assert world.path.stat().st_mode & 0o777 == 0o600
    world.restart()
    assert world.pull("a", "second") == ["first"]
    world.path.write_text("[]")
    world.restart()
    assert world.pull("a", "third") == []
