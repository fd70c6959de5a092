"""The presence: acquisition, renewal, loss, reacquisition, release."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from bbs.models.codec import dumps
from bbs.models.locket import Resource, TypeCode
from executor.model import Resources
from rep.config import RepConfig
from rep.presence import Presence, cell_presence, outbound_address
from tests.support.paths import GOLDEN_FILES
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeLocket

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "locket" / "presence-values.json"
CONFIG = RepConfig(cell_id="cell-1", zone="z1")
RECORD = cell_presence(
    CONFIG, "https://cell-1:1801", 1800, Resources(memory_mb=1, disk_mb=2, containers=3), []
)


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._ticks: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._ticks.get()

    def tick(self) -> None:
        self._ticks.put_nowait(None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def presence(locket: FakeLocket, clock: Clock) -> Presence:
    return Presence(locket=locket, record=RECORD, ttl_s=15, owner="me", sleep=clock.sleep)


def names(locket: FakeLocket) -> list[str]:
    return [name for name, _ in locket.calls]


def other(key: str = "cell-1") -> Resource:
    return Resource(key=key, owner="somebody", type_code=TypeCode.PRESENCE)


@pytest.mark.parametrize("cell", ["cell-ref-0", "cell-ref-1"])
def test_the_record_is_the_recorded_one(cell: str) -> None:
    recorded = json.loads(GOLDEN.read_text())[cell]
    config = RepConfig(
        cell_id=cell,
        zone=recorded["zone"],
        placement_tags=tuple(recorded.get("placement_tags", ())),
        optional_placement_tags=tuple(recorded.get("optional_placement_tags", ())),
    )
    made = json.loads(
        dumps(
            cell_presence(
                config, recorded["rep_url"], 18800, Resources(**recorded["capacity"]), ["cflinuxfs4"]
            )
        )
    )
    assert made.pop("rep_address") == f"http://{outbound_address()}:18800"
    assert made.pop("annotations") in ({}, None)
    assert {"name": "extra"} in made["rootfs_provider_list"]
    made["rootfs_provider_list"].remove({"name": "extra"})
    del recorded["rep_address"]
    assert made == recorded


async def test_taken_at_once_renewed_and_released(
    presence: Presence, locket: FakeLocket, clock: Clock
) -> None:
    async with presence.holding():
        assert presence.held
        resource = locket.held["cell-1"]
        assert (resource.owner, resource.type_code) == ("me", TypeCode.PRESENCE)
        assert json.loads(resource.value)["cell_id"] == "cell-1"
        await until(lambda: clock.asked == [5.0])
        clock.tick()
        await until(lambda: names(locket) == ["lock", "lock"])
    (_, first), (_, second), (_, release) = locket.calls
    assert (first["ttl_s"], first["timeout_s"], first["wait_for_ready"]) == (15, None, False)
    assert (second["ttl_s"], second["timeout_s"], second["wait_for_ready"]) == (15, 5.0, True)
    assert first["uuid"] != second["uuid"]
    assert release == {"timeout_s": 15}
    assert locket.held == {}


async def test_the_same_owner_takes_a_presence_that_was_left_to_it_without_a_gap(
    locket: FakeLocket, clock: Clock
) -> None:
    def process(*, releases: bool) -> Presence:
        settings = {"locket": locket, "record": RECORD, "ttl_s": 15, "owner": "me", "sleep": clock.sleep}
        return Presence(**settings, releases=lambda: releases)

    async with process(releases=False).holding():
        pass
    assert locket.held["cell-1"].owner == "me"
    async with process(releases=True).holding():
        assert names(locket) == ["lock", "lock"]
    assert locket.held == {}


async def test_a_held_key_is_waited_for_and_its_owner_named(
    presence: Presence, locket: FakeLocket, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    locket.held["cell-1"] = other()
    async with asyncio.TaskGroup() as group:
        entered = asyncio.Event()

        async def hold() -> None:
            async with presence.holding():
                entered.set()

        group.create_task(hold())
        await until(lambda: names(locket) == ["lock", "fetch"])
        assert locket.calls[0][1]["uuid"] == locket.calls[1][1]["uuid"]
        assert not entered.is_set()
        locket.held.clear()
        await until(lambda: bool(clock.asked))
        assert 2.5 <= clock.asked[0] <= 5.0
        clock.tick()
        await entered.wait()
    (failure,) = [item for item in caplog.records if item.message.endswith("failed-to-acquire-lock")]
    assert vars(failure)["data"]["held_by"] == "somebody"
    assert names(locket) == ["lock", "fetch", "lock", "release"]


async def test_a_lost_presence_is_logged_and_taken_again(
    presence: Presence, locket: FakeLocket, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with presence.holding():
        locket.down = True
        clock.tick()
        await until(lambda: not presence.held)
        locket.down = False
        clock.tick()
        await until(lambda: presence.held)
    assert [item.message for item in caplog.records if item.levelname == "ERROR"] == ["locket-lock.lost-lock"]


async def test_a_second_cell_with_the_same_id_is_named(
    presence: Presence, locket: FakeLocket, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with presence.holding():
        locket.held["cell-1"] = other()
        for _ in range(10):
            clock.tick()
        await until(lambda: len(clock.asked) == 11)
    said = [item for item in caplog.records if item.message.endswith("cell-id-used-by-another-cell")]
    assert [vars(item)["data"]["held_by"] for item in said] == ["somebody"]


async def test_a_release_that_fails_is_only_logged(
    presence: Presence, locket: FakeLocket, caplog: pytest.LogCaptureFixture
) -> None:
    async with presence.holding():
        locket.down = True
    assert caplog.records[-1].message == "locket-lock.failed-to-release-lock"
