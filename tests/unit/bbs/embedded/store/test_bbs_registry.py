"""Locks and presences: in memory while they are renewed, in the state file for a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bbs.embedded.clock import SECOND
from bbs.embedded.store import resources
from bbs.embedded.store.database import Store, StoreError
from bbs.embedded.store.resources import Collision, Full, Registry
from bbs.embedded.store.tables import Tables
from bbs.models.cell import CellCapacity, CellPresence
from bbs.models.codec import dumps
from bbs.models.locket import Resource, TypeCode

pytestmark = pytest.mark.unit


class StoppedClock:
    """Both clocks of the server, moved by the test."""

    def __init__(self) -> None:
        self.now = 10**15

    def wall(self) -> int:
        return self.now

    def monotonic(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


def presence(cell_id: str, owner: str = "o", zone: str = "z") -> Resource:
    cell = CellPresence(
        cell_id=cell_id,
        rep_url=f"http://{cell_id}:1",
        rep_address=f"http://{cell_id}:1",
        zone=zone,
        capacity=CellCapacity(memory_mb=1, disk_mb=1, containers=1),
    )
    return Resource(key=cell_id, owner=owner, value=dumps(cell), type_code=TypeCode.PRESENCE)


LOCK = Resource(key="auctioneer", owner="a", type_code=TypeCode.LOCK)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    async with Store(folder / "bbs.db", lambda notices: None) as store:
        yield store


async def stored(store: Store) -> list[str]:
    return sorted(resource.key for resource, _ in await store.run(lambda tables: tables.resources()))


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


async def test_a_renewal_has_nothing_to_save(clock: StoppedClock, tmp_path: Path) -> None:
    registry = Registry(clock)
    async with opened(tmp_path) as store:
        assert registry.lock(presence("c1"), 15)
        await registry.save(store)
        for _ in range(3):
            clock.advance(10)
            assert not registry.lock(presence("c1"), 15)
        assert list(registry.cells()) == ["c1"]
        assert registry.lock(presence("c1", zone="other"), 15)
        assert registry.cells()["c1"].zone == "other"


async def test_what_expired_or_was_released_is_gone_from_the_file_too(
    clock: StoppedClock, tmp_path: Path
) -> None:
    registry = Registry(clock)
    async with opened(tmp_path) as store:
        for cell_id in ("c1", "c2", "c3"):
            registry.lock(presence(cell_id), 15)
        registry.lock(LOCK, 60)
        await registry.save(store)
        registry.release("c3", "o")
        clock.advance(10)
        registry.lock(presence("c2"), 15)
        clock.advance(5)
        assert list(registry.cells()) == ["c2"]
        assert registry.fetch("c1") is None
        assert registry.fetch_all(TypeCode.LOCK) == [LOCK]
        await registry.save(store)
        assert await stored(store) == ["auctioneer", "c2"]


async def test_a_restart_gives_each_resource_its_whole_lifetime(clock: StoppedClock, tmp_path: Path) -> None:
    registry = Registry(clock)
    async with opened(tmp_path) as store:
        registry.lock(presence("c1"), 15)
        await registry.save(store)
    clock.advance(3600)
    later = Registry(clock)
    async with opened(tmp_path) as store:
        await later.load(store)
        clock.advance(14)
        assert list(later.cells()) == ["c1"]
        with pytest.raises(Collision):
            later.lock(presence("c1", owner="another"), 15)
        clock.advance(1)
        assert later.lock(presence("c1", owner="another"), 15)


async def test_what_could_not_be_written_is_written_by_the_next_call(
    clock: StoppedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(clock)

    def fail(tables: Tables, resource: Resource, ttl_s: int) -> None:
        raise StoreError("the disk is full")

    async with opened(tmp_path) as store:
        registry.lock(presence("c1"), 15)
        with monkeypatch.context() as patched:
            patched.setattr(Tables, "put_resource", fail)
            with pytest.raises(StoreError, match="disk is full"):
                await registry.save(store)
        assert registry.lock(presence("c1"), 15), "a renewal is not durable before its resource is"
        await registry.save(store)
        assert await stored(store) == ["c1"]


@pytest.mark.parametrize("change", [lambda r: r.release("c1", "x"), lambda r: r.lock(presence("c1", "x"), 1)])
def test_another_owner_changes_nothing(clock: StoppedClock, change: Callable[[Registry], None]) -> None:
    registry = Registry(clock)
    registry.lock(presence("c1"), 15)
    with pytest.raises(Collision):
        change(registry)
    assert list(registry.cells()) == ["c1"]


def test_an_invalid_presence_is_held_and_is_no_cell(
    clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(clock)
    with caplog.at_level("INFO"):
        registry.lock(Resource(key="c1", owner="o", value="{", type_code=TypeCode.PRESENCE), 15)
    assert registry.cells() == {}
    assert [resource.key for resource in registry.fetch_all(TypeCode.PRESENCE)] == ["c1"]
    assert "invalid-presence" in caplog.messages


def test_resources_are_bounded_in_number_and_bytes(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "HELD_MOST", 3)
    monkeypatch.setattr(resources, "HELD_BYTES", 1000)
    registry = Registry(clock)
    for key in "abc":
        registry.lock(Resource(key=key, owner="o", type_code=TypeCode.LOCK), 15)
    with pytest.raises(Full, match="3 locks"):
        registry.lock(LOCK, 15)
    with pytest.raises(Full, match="1000 bytes"):
        registry.lock(Resource(key="a", owner="o", value="x" * 1000, type_code=TypeCode.LOCK), 15)
    for _ in range(3):
        registry.lock(Resource(key="a", owner="o", value="x" * 900, type_code=TypeCode.LOCK), 15)
        registry.release("a", "o")
    registry.lock(LOCK, 15)
    clock.advance(15)
    assert registry.lock(Resource(key="d", owner="o", value="x" * 990, type_code=TypeCode.LOCK), 15)
