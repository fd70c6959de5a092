"""Places for limited work: waiters of one container do not block another container."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.places import FairPlaces, Places
from tests.support.waiting import until

pytestmark = pytest.mark.unit


async def turns(count: int = 3) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Holders:
    """Tasks that hold a place until a test releases them."""

    def __init__(self, places: FairPlaces) -> None:
        self.places = places
        self.order: list[str] = []
        self.held: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.running: list[tuple[asyncio.Task[None], asyncio.Event]] = []

    def start(self, owner: str) -> asyncio.Task[None]:
        go = asyncio.Event()

        async def hold() -> None:
            async with self.places.of(owner):
                self.order.append(owner)
                self.held[owner] += 1
                self.peak[owner] = max(self.peak[owner], self.held[owner])
                try:
                    await go.wait()
                finally:
                    self.held[owner] -= 1

        task = asyncio.create_task(hold())
        self.running.append((task, go))
        return task

    async def end_all(self) -> None:
        for _, go in self.running:
            go.set()
        await asyncio.wait([task for task, _ in self.running])


async def test_one_waiter_does_not_wait_for_a_thousand_of_another_owner() -> None:
    """One LRP of 1,000 parallel actions does not hold up a neighbour's Task."""
    holders = Holders(FairPlaces(2))
    for _ in range(1000):
        holders.start("many")
    await turns()
    holders.start("one")
    await turns()
    await holders.end_all()
    assert holders.order.index("one") <= 3


async def test_an_owner_holds_no_more_than_its_part() -> None:
    holders = Holders(FairPlaces(4, most=3))
    for _ in range(6):
        holders.start("many")
    await turns()
    assert holders.held == {"many": 3}
    assert not holders.places.locked()
    holders.start("one")
    await turns()
    assert (holders.held["one"], holders.places.locked()) == (1, True)
    await holders.end_all()
    assert holders.peak == {"many": 3, "one": 1}


async def test_a_place_granted_to_a_cancelled_waiter_goes_to_the_next() -> None:
    places = FairPlaces(1)
    await places.acquire("a")
    cancelled, next_one = (asyncio.create_task(places.acquire("b")) for _ in range(2))
    await turns()
    places.release("a")  # grants it to the first of b, which is cancelled before it runs again
    cancelled.cancel()
    await turns()
    assert cancelled.cancelled()
    assert next_one.done()
    places.release("b")
    assert not places.locked()


async def test_a_waiter_that_is_about_to_leave_gets_no_place() -> None:
    places = FairPlaces(1)
    await places.acquire("a")
    leaving = asyncio.create_task(places.acquire("b"))
    await turns()
    leaving.cancel()
    places.release("a")
    await turns()
    assert leaving.cancelled()
    assert not places.locked()


action = st.tuples(st.sampled_from("abc"), st.sampled_from(["start", "end", "cancel", "cancel twice"]))


@given(st.integers(1, 4), st.integers(1, 4), st.lists(action, max_size=60))
def test_no_place_is_lost_and_none_is_given_twice(
    count: int, most: int, script: list[tuple[str, str]]
) -> None:
    async def run() -> None:
        holders = Holders(FairPlaces(count, most))
        for owner, what in script:
            mine = [each for each in holders.running if not each[0].done()]
            if what == "start" or not mine:
                holders.start(owner)
            elif what == "end":
                mine[0][1].set()
            else:
                mine[-1][0].cancel()
                if what == "cancel twice":
                    await asyncio.sleep(0)
                    mine[-1][0].cancel()
            if owner != "c":
                await asyncio.sleep(0)
            assert holders.held.total() <= count
            assert max(holders.held.values(), default=0) <= most
        if holders.running:
            await holders.end_all()
        everything = [asyncio.create_task(holders.places.acquire(number)) for number in range(count)]
        await turns()
        assert all(each.done() for each in everything)
        assert holders.places.locked()

    asyncio.run(run())


def test_at_least_one_place() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FairPlaces(0)


@pytest.mark.parametrize("kind", [Places, FairPlaces])
async def test_more_or_fewer_places_hold_from_the_next_holder_on(kind: type[Places | FairPlaces]) -> None:
    places = kind(2)
    inside, most = 0, 0
    gates = [asyncio.Event() for _ in range(9)]

    async def work(number: int) -> None:
        nonlocal inside, most
        async with places if isinstance(places, Places) else places.of(number):
            inside += 1
            most = max(most, inside)
            await gates[number].wait()
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for number in range(9):
            group.create_task(work(number))
        await until(lambda: inside == 2)
        places.resize(4)
        await until(lambda: inside == 4)
        places.resize(1)
        for number in range(3):
            gates[number].set()
        await until(lambda: inside == 1)
        most = 0
        gates[3].set()
        gates[4].set()
        await turns()
        assert (inside, most) == (1, 1)
        places.resize(3)
        await until(lambda: inside == 3)
        for gate in gates:
            gate.set()
    assert most == 3


async def test_places_that_were_taken_away_while_free_are_not_given_out() -> None:
    places = Places(3)
    places.resize(1)
    async with places:
        waiter = asyncio.ensure_future(places.acquire())
        await asyncio.sleep(0)
        assert not waiter.done()
    await waiter
    places.release()
