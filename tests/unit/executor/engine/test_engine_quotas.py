"""Detection of disk quotas, from the engine's description and at the first container."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from docker.errors import ImageNotFound

from executor.engine.api import ContainerSpec
from executor.engine.client import EngineClient
from executor.engine.faults import ImageMissing
from executor.engine.storage import DiskQuotas, DiskSpace
from executor.errors import ImageError

pytestmark = pytest.mark.unit

T = TypeVar("T")
MIB = 1 << 20
OWN = ContainerSpec(guid="g", root_fs="docker:///own", disk_bytes=100 * MIB)
STACK = replace(OWN, root_fs="preloaded:stack")


class FakeClient(EngineClient):
    """An engine with a storage driver and images of some size."""

    def __init__(self, driver: str, backing: str = "", **images: int) -> None:
        super().__init__(None, workers=1)
        self._info = {
            "Driver": driver,
            "DriverStatus": [["Backing Filesystem", backing]],
            "DockerRootDir": "/no/such/directory",
        }
        self.images = images
        self.asked: list[str] = []

    def info(self) -> dict[str, Any]:
        return self._info

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.images:
            raise ImageNotFound(f"No such image: {name}")
        return {"Size": self.images[name]}

    async def call(
        self, asked: str, job: Callable[[Any], T], *, abort: Callable[[], None] | None = None
    ) -> T:
        self.asked.append(asked)
        return job(self)


def kept_by(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    told = [record.__dict__["data"] for record in caplog.records if record.message == "disk-limits"]
    return [(each["kept-by"], each["storage"]) for each in told]


async def test_a_quota_that_turns_out_to_be_none_is_told_and_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    client = FakeClient("overlay2", "xfs", own=30 * MIB)
    quotas = DiskQuotas(client)
    await quotas.announce()
    assert await quotas.space(OWN, "own") == DiskSpace(70 * MIB, 30 * MIB)
    quotas.refused("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    assert await quotas.space(OWN, "own") == DiskSpace(0, 30 * MIB)
    assert [keeper for keeper, _ in kept_by(caplog)] == [
        "quota of the engine's storage",
        "watcher of the writable layer",
    ]
    assert "pquota" in kept_by(caplog)[1][1]
    assert client.asked.count("engine info") == 1


async def test_the_size_of_a_stack_is_asked_for_once_and_only_where_it_matters() -> None:
    copying = FakeClient("btrfs", stack=30 * MIB)
    quotas = DiskQuotas(copying)
    for _ in range(3):
        assert await quotas.space(STACK, "stack") == DiskSpace(130 * MIB)
    assert copying.asked == ["engine info", "inspect image stack"]
    layered = FakeClient("overlay2", "extfs")
    assert await DiskQuotas(layered).space(STACK, "stack") == DiskSpace()
    assert layered.asked == ["engine info"]


async def test_an_image_that_moved_is_weighed_again() -> None:
    client = FakeClient("overlay2", "extfs", own=30 * MIB)
    quotas = DiskQuotas(client)
    assert await quotas.space(OWN, "own") == DiskSpace(0, 30 * MIB)
    client.images["own"] = 40 * MIB
    assert await quotas.space(OWN, "own") == DiskSpace(0, 40 * MIB)
    client.images["own"] = 200 * MIB
    with pytest.raises(ImageError, match=r"image own: its 200M do not fit in the disk limit of 100M"):
        await quotas.space(OWN, "own")


async def test_a_stack_the_engine_does_not_have_yet_is_missing_and_no_failure() -> None:
    with pytest.raises(ImageMissing):
        await DiskQuotas(FakeClient("btrfs")).space(STACK, "stack")
