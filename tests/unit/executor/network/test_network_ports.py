"""The pool of host ports."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from executor.errors import NetworkError, NoFreePorts
from executor.network.ports import PortPool, refuse_overlap

pytestmark = pytest.mark.unit


def test_the_default_range() -> None:
    pool = PortPool()
    assert pool.reserve("a", 2) == (61001, 61002)
    pool.claim("b", range(61003, 65534))
    assert pool.reserve("c", pool.free) == (65534,)


def test_one_container_cannot_take_the_whole_pool() -> None:
    """4,534 ports of one container left none to the others."""
    pool = PortPool()
    with pytest.raises(NetworkError, match="4534 host ports wanted for a: a container may have 100 at most"):
        pool.reserve("a", 4534)
    assert len(pool.reserve("b", 100)) == 100


def test_a_returned_port_rests_until_the_others_had_their_turn() -> None:
    pool = PortPool(100, 5)
    assert pool.reserve("a", 2) == (100, 101)
    assert pool.release("a") == (100, 101)
    assert pool.reserve("b", 2) == (102, 103)
    assert pool.reserve("c", 2) == (100, 104)
    assert pool.reserve("d", 1) == (101,)


def test_an_empty_pool_takes_nothing() -> None:
    pool = PortPool(100, 2)
    pool.reserve("a", 1)
    with pytest.raises(NoFreePorts, match="no free host ports: 2 wanted for b, 1 left"):
        pool.reserve("b", 2)
    assert pool.free == 1


def test_claims() -> None:
    pool = PortPool(100, 3)
    pool.claim("a", [101, 7000])
    pool.claim("a", [101])
    assert pool.reserve("b", 2) == (100, 102)
    with pytest.raises(NetworkError, match="host port 102 wanted for a belongs to another container"):
        pool.claim("a", [102])
    assert pool.release("a") == (101,)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (65535, 2), (1, -1)])
def test_impossible_ranges(start: int, count: int) -> None:
    with pytest.raises(NetworkError):
        PortPool(start, count)


@pytest.mark.parametrize(
    ("start", "count", "reserved"),
    [(61001, 4534, ""), (20000, 100, "\n"), (40000, 10, "40000-40009\n"), (40000, 2, "8,40000,40001-40001")],
)
def test_ports_the_kernel_leaves_alone(start: int, count: int, reserved: str) -> None:
    refuse_overlap(start, count, (32768, 60999), reserved)


@pytest.mark.parametrize(("start", "count", "reserved"), [(60000, 4534, ""), (40000, 3, "40000-40001")])
def test_ports_the_kernel_takes_itself(start: int, count: int, reserved: str) -> None:
    with pytest.raises(NetworkError, match=f"ip_local_reserved_ports={start}-{start + count - 1}"):
        refuse_overlap(start, count, (32768, 60999), reserved)


class PoolMachine(RuleBasedStateMachine):
    """A port has one owner at a time, and none is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PortPool(1000, 12)
        self.owned: dict[str, set[int]] = {}

    @rule(guid=st.sampled_from("abcd"), count=st.integers(0, 5))
    def reserve(self, guid: str, count: int) -> None:
        if count > self.pool.free:
            with pytest.raises(NoFreePorts):
                self.pool.reserve(guid, count)
            return
        ports = self.pool.reserve(guid, count)
        assert list(ports) == sorted(ports)
        assert not set(ports) & set().union(*self.owned.values())
        self.owned.setdefault(guid, set()).update(ports)

    @rule(guid=st.sampled_from("abcd"))
    def release(self, guid: str) -> None:
        assert set(self.pool.release(guid)) == self.owned.pop(guid, set())

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.pool.free + sum(map(len, self.owned.values())) == 12


TestPool = PoolMachine.TestCase
