"""Slots of development cells on one machine: no conflicts with each other or with the host."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from cell.development.slots import SLOTS, SUBNET_POOLS, NoFreeSlot, Slot, take_slots

pytestmark = pytest.mark.unit


def nothing(_: Slot) -> None:
    return None


def test_slots_are_held_one_by_one_and_given_back(tmp_path: Path) -> None:
    with take_slots(2, tmp_path, nothing) as first, take_slots(1, tmp_path, nothing) as second:
        assert [slot.number for slot in [*first, *second]] == [0, 1, 2]
    with take_slots(1, tmp_path, nothing) as (again,):
        assert again.number == 0


def test_more_than_there_are(tmp_path: Path) -> None:
    with (
        take_slots(SLOTS - 1, tmp_path, nothing),
        pytest.raises(NoFreeSlot) as told,
        take_slots(2, tmp_path, nothing),
    ):
        pytest.fail("there was one left")
    assert str(told.value) == (
        "2 development cell(s) need a slot each, but only 1 of 9 are free; stop another `cell dev` first"
    )


@pytest.mark.parametrize("pool", SUBNET_POOLS, ids=str)
def test_subnets_are_apart_and_within_their_pool(pool: IPv4Network) -> None:
    subnets = [IPv4Network(Slot(number, pool).subnet) for number in range(SLOTS)]
    assert all(subnet.subnet_of(pool) for subnet in subnets)
    assert not any(a.overlaps(b) for a in subnets for b in subnets if a is not b)


def test_a_subnet_the_host_uses_otherwise_is_passed_over(tmp_path: Path) -> None:
    taken = {"10.255.0.0/20", "10.254.0.0/20"}
    with take_slots(2, tmp_path, lambda slot: "a tunnel" if slot.subnet in taken else None) as slots:
        assert [slot.subnet for slot in slots] == ["172.31.0.0/20", "10.255.16.0/20"]


def test_no_subnet_is_left(tmp_path: Path) -> None:
    with (
        pytest.raises(NoFreeSlot, match=r"10\.255\.0\.0/20 is a tunnel; .* 192\.168\.0\.0/20 is a tunnel"),
        take_slots(1, tmp_path, lambda slot: f"{slot.subnet} is a tunnel"),
    ):
        pytest.fail("all are taken")
    with take_slots(1, tmp_path, nothing) as (slot,):
        assert slot.number == 0
