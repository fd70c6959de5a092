"""The order in which a request tries the endpoints."""

from __future__ import annotations

import pytest

from cell.routing.balancing import REST_S, Balancer
from cell.routing.table import Endpoint, Pool

pytestmark = pytest.mark.unit


def endpoint(name: str, *, suspect: bool = False) -> Endpoint:
    return Endpoint(f"{name}:1", "app", "process", name, 0, suspect)


A, B, C = map(endpoint, "abc")
POOL = Pool("shop", (A, B, C))


def firsts(balancer: Balancer, count: int, preferred: str = "") -> str:
    return "".join(balancer.ordered(POOL, preferred)[0].instance_guid for _ in range(count))


def test_requests_go_to_each_endpoint_in_turn() -> None:
    balancer = Balancer()
    assert firsts(balancer, 7) == "abcabca"
    assert balancer.ordered(Pool("other", (A, B))) == [A, B], "a pool has a turn of its own"
    assert balancer.ordered(Pool("empty", ())) == []


def test_a_session_stays_at_its_instance() -> None:
    balancer = Balancer()
    assert firsts(balancer, 3, preferred="b") == "bbb"
    assert firsts(balancer, 3, preferred="gone") == "abc"


def test_an_endpoint_that_failed_comes_last_for_a_time() -> None:
    now = 100.0
    balancer = Balancer(now=lambda: now)
    balancer.failed(B)
    assert {tuple(balancer.ordered(POOL, "b"))[-1] for _ in range(3)} == {B}
    now += REST_S
    assert "b" in firsts(balancer, 3)


def test_an_endpoint_that_answers_has_not_failed() -> None:
    balancer = Balancer()
    balancer.failed(A)
    balancer.answered(A)
    assert firsts(balancer, 3) == "abc"


def test_another_instance_at_the_same_address_has_not_failed() -> None:
    balancer = Balancer()
    balancer.failed(A)
    successor = Endpoint(A.address, "app", "process", "successor", 0)
    assert balancer.ordered(Pool("p", (successor, B)))[0] is successor


def test_suspects_come_after_the_others() -> None:
    lost = endpoint("lost", suspect=True)
    balancer = Balancer()
    assert [balancer.ordered(Pool("p", (lost, A)))[0] for _ in range(3)] == [A, A, A]
    balancer.failed(A)
    assert balancer.ordered(Pool("p", (lost, A))) == [lost, A]
