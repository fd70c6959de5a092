"""The bounded buffer: lines of one instance displace none of others."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.logs.buffer import Entry, FairBuffer

pytestmark = pytest.mark.unit


def filled(capacity: int, *items: str) -> FairBuffer[str]:
    """Items of size 1; the first letter is the owner."""
    buffer: FairBuffer[str] = FairBuffer(capacity)
    for item in items:
        buffer.add(Entry(item, item[0], 1, 1))
    return buffer


def taken(buffer: FairBuffer[str], limit: int) -> list[str]:
    return [entry.item for entry in buffer.take(limit)]


def test_order_within_an_owner_and_turns_between_them() -> None:
    buffer = filled(100, "a1", "a2", "a3", "b1")
    assert taken(buffer, 2) == ["a1", "a2"]
    assert taken(buffer, 2) == ["b1", "a3"]
    assert (len(buffer), taken(buffer, 5)) == (0, [])


def test_one_owner_may_have_it_all_and_loses_what_comes_when_it_is_full() -> None:
    buffer = filled(3, "a0", "a1", "a2", "a3", "a4")
    assert (buffer.dropped, buffer.take_drops()) == (2, Counter({"a": 2}))
    assert taken(buffer, 9) == ["a0", "a1", "a2"]


def test_a_newcomer_takes_its_share_from_the_one_that_has_most() -> None:
    buffer = filled(6, "a1", "a2", "a3", "a4", "b1", "b2", "c1", "c2", "c3")
    assert buffer.take_drops() == Counter({"a": 2, "c": 1})
    assert taken(buffer, 9) == ["a3", "a4", "b1", "b2", "c1", "c2"]


def test_an_entry_larger_than_everything_is_dropped_with_all_its_lines() -> None:
    buffer = filled(6)
    buffer.add(Entry("huge", "a", 7, 12))
    assert (buffer.dropped, len(buffer), taken(buffer, 1)) == (12, 0, [])


def test_a_batch_is_bounded_in_bytes_but_never_empty() -> None:
    buffer: FairBuffer[str] = FairBuffer(100)
    for item, size in (("a1", 30), ("a2", 5), ("b1", 4), ("a3", 20)):
        buffer.add(Entry(item, item[0], size, 1))
    batches = []
    while buffer:
        batches.append([entry.item for entry in buffer.take(10, 10)])
    assert batches == [["a1"], ["b1", "a2"], ["a3"]]


def test_an_owner_that_lost_everything_is_forgotten() -> None:
    buffer: FairBuffer[str] = FairBuffer(20)
    for item, size in (("a1", 1), ("b1", 11), ("a2", 9)):
        buffer.add(Entry(item, item[0], size, 1))
    assert buffer.take_drops() == Counter({"b": 1})
    assert taken(buffer, 3) == ["a1", "a2"]


adding = st.tuples(st.sampled_from("abc"), st.integers(1, 40))


@given(st.lists(st.one_of(adding, st.integers(1, 4)), max_size=120), st.integers(1, 60))
def test_what_comes_in_goes_out_or_is_counted(script: list[tuple[str, int] | int], capacity: int) -> None:
    """A number takes that many entries, a pair adds one of that owner and size, with two lines."""
    buffer: FairBuffer[int] = FairBuffer(capacity)
    added: Counter[str] = Counter()
    out: list[Entry[int]] = []
    for number, action in enumerate(script):
        if isinstance(action, int):
            batch = buffer.take(action, capacity // 2)
            assert len(batch) <= 1 or sum(entry.size for entry in batch) <= capacity // 2
            out += batch
        else:
            owner, size = action
            buffer.add(Entry(number, owner, size, 2))
            added[owner] += 2
    held = buffer.take(len(buffer))
    assert sum(entry.size for entry in held) <= capacity
    out += held
    drops = buffer.take_drops()
    for owner, lines in added.items():
        numbers = [entry.item for entry in out if entry.owner == owner]
        assert numbers == sorted(numbers)
        assert 2 * len(numbers) + drops[owner] == lines
    assert drops.total() == buffer.dropped


@given(st.integers(2, 8), st.integers(1, 30))
def test_a_quiet_instance_loses_nothing_while_others_flood(owners: int, share: int) -> None:
    buffer: FairBuffer[int] = FairBuffer(owners * share)
    for number in range(3 * share):
        for owner in range(1, owners):
            buffer.add(Entry(number, owner, 1, 1))
        if number < share:
            buffer.add(Entry(number, 0, 1, 1))
    assert 0 not in buffer.take_drops()
    quiet = [entry.item for entry in buffer.take(len(buffer)) if entry.owner == 0]
    assert quiet == list(range(share))
