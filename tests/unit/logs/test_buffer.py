"""A bounded buffer in which nobody pays for somebody else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.logs.buffer import FairBuffer

pytestmark = pytest.mark.unit


def test_order_within_an_owner_and_turns_between_them() -> None:
    buffer: FairBuffer[str] = FairBuffer(100)
    for item in ("a1", "a2", "a3", "b1"):
        buffer.add(item, item[0], 1)
    assert buffer.take(2) == ["a1", "a2"]
    assert buffer.take(2) == ["b1", "a3"]
    assert (len(buffer), buffer.take(5)) == (0, [])


def test_one_owner_may_have_it_all_and_loses_what_comes_when_it_is_full() -> None:
    buffer: FairBuffer[int] = FairBuffer(3)
    for item in range(5):
        buffer.add(item, "a", 1)
    assert (buffer.dropped, buffer.take_drops()) == (2, Counter({"a": 2}))
    assert buffer.take(9) == [0, 1, 2]


def test_a_newcomer_takes_its_share_from_the_one_that_has_most() -> None:
    buffer: FairBuffer[str] = FairBuffer(6)
    for item in ("a1", "a2", "a3", "a4", "b1", "b2", "c1", "c2", "c3"):
        buffer.add(item, item[0], 1)
    assert buffer.take_drops() == Counter({"a": 2, "c": 1})
    assert buffer.take(9) == ["a3", "a4", "b1", "b2", "c1", "c2"]


def test_an_item_larger_than_everything_is_dropped() -> None:
    buffer: FairBuffer[str] = FairBuffer(6)
    buffer.add("huge", "a", 7)
    assert (buffer.dropped, len(buffer), buffer.take(1)) == (1, 0, [])


adding = st.tuples(st.sampled_from("abc"), st.integers(1, 40))


@given(st.lists(st.one_of(adding, st.integers(1, 4)), max_size=120), st.integers(1, 60))
def test_what_comes_in_goes_out_or_is_counted(script: list[tuple[str, int] | int], capacity: int) -> None:
    """A number takes that many items, a pair adds one of that owner and size."""
    buffer: FairBuffer[tuple[str, int, int]] = FairBuffer(capacity)
    added: Counter[str] = Counter()
    taken: list[tuple[str, int, int]] = []
    for number, action in enumerate(script):
        if isinstance(action, int):
            taken += buffer.take(action)
        else:
            owner, size = action
            buffer.add((owner, number, size), owner, size)
            added[owner] += 1
    held = buffer.take(len(buffer))
    assert sum(size for _, _, size in held) <= capacity
    taken += held
    drops = buffer.take_drops()
    assert Counter(owner for owner, _, _ in taken) + drops == added
    assert drops.total() == buffer.dropped
    for owner in added:
        numbers = [number for name, number, _ in taken if name == owner]
        assert numbers == sorted(numbers)


@given(st.integers(2, 8), st.integers(1, 30))
def test_a_quiet_instance_loses_nothing_while_others_flood(owners: int, share: int) -> None:
    buffer: FairBuffer[tuple[int, int]] = FairBuffer(owners * share)
    for number in range(3 * share):
        for owner in range(1, owners):
            buffer.add((owner, number), owner, 1)
        if number < share:
            buffer.add((0, number), 0, 1)
    assert 0 not in buffer.take_drops()
    assert [item for item in buffer.take(len(buffer)) if item[0] == 0] == [(0, n) for n in range(share)]
