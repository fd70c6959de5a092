"""Detection of image volumes among the mounts of a container."""

from __future__ import annotations

import pytest

from executor.engine.imagevolumes import declared_volumes, topmost_below

pytestmark = pytest.mark.unit


def test_volumes_are_told_from_what_was_asked_for() -> None:
    mounts = [
        {"Type": "bind", "Source": "/host", "Destination": "/mnt"},
        {"Type": "volume", "Name": "5f", "Destination": "/data"},
    ]
    assert declared_volumes({"Mounts": mounts}) == ["/data"]
    assert declared_volumes({"Mounts": None}) == declared_volumes({}) == []


def test_only_the_topmost_mounts_below_a_volume_are_taken_along() -> None:
    points = ["/", "/data", "/database", "/data/a", "/data/a/b", "/data/c/d", "/data/c/d", "/proc"]
    assert topmost_below("/data", points) == ["/data/a", "/data/c/d"]
