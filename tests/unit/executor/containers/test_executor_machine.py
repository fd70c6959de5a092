"""The state machine of a container: possible moves, their events, and invariants."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executor.containers import machine
from executor.containers.machine import (
    BecomeReady,
    Complete,
    Create,
    Expire,
    FlipReadiness,
    Initialize,
    Move,
    RequestStop,
    Update,
    apply,
    cap_failure_reason,
    is_expired,
)
from executor.containers.record import Records
from executor.containers.store import ContainerStore
from executor.errors import InvalidStateTransition
from executor.model import AllocationRequest, Container, ContainerState, EventKind, Resources, RunInfo
from tests.support.journals import FailingJournal

pytestmark = pytest.mark.unit

S = ContainerState
CREATE = Create(external_ip="192.0.2.9", internal_ip="10.255.0.7", ports=(), memory_limit=1, disk_limit=2)
INITIALIZE = Initialize(run_info=RunInfo(root_fs="preloaded:x"), tags={"b": "2"})

TABLE: list[tuple[Move, dict[ContainerState, tuple[ContainerState, EventKind | None]]]] = [
    (INITIALIZE, {S.RESERVED: (S.INITIALIZING, None)}),
    (CREATE, {S.INITIALIZING: (S.CREATED, None)}),
    (BecomeReady(routable=True), {S.CREATED: (S.RUNNING, EventKind.RUNNING)}),
    (FlipReadiness(routable=False), {S.RUNNING: (S.RUNNING, EventKind.RUNNING)}),
    (Expire(), {S.RESERVED: (S.COMPLETED, EventKind.COMPLETE)}),
    (Complete(failed=True), dict.fromkeys(S, (S.COMPLETED, EventKind.COMPLETE))),
    (RequestStop(), {state: (state, None) for state in S}),
    (Update(internal_routes=()), {state: (state, None) for state in S}),
]


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize(("move", "outcomes"), TABLE, ids=lambda value: type(value).__name__)
def test_table(
    move: Move, outcomes: dict[ContainerState, tuple[ContainerState, EventKind | None]], state: S
) -> None:
    container = Container(guid="ig", state=state)
    if state in outcomes:
        after, kind = apply(container, move)
        assert (after.state, kind) == outcomes[state]
    else:
        with pytest.raises(InvalidStateTransition, match="container cannot transition to given state"):
            apply(container, move)


def test_a_run_request_merges_its_tags_into_the_reservation() -> None:
    reserved, kind = machine.reserve(AllocationRequest(guid="ig", memory_mb=5, tags={"a": "1", "b": "1"}), 77)
    assert (kind, reserved.allocated_at, reserved.memory_mb) == (EventKind.RESERVED, 77, 5)
    initialized, _ = apply(reserved, INITIALIZE)
    assert initialized.tags == {"a": "1", "b": "2"}
    assert initialized.run_info.root_fs == "preloaded:x"


def test_completion_keeps_that_somebody_asked_for_the_end() -> None:
    stopped, _ = apply(Container(guid="ig", state=S.RUNNING), RequestStop())
    completed, _ = apply(stopped, Complete(failed=True, failure_reason="cancelled"))
    assert completed.run_result.stopped
    assert completed.run_result.failure_reason == "cancelled"


def test_expiry_has_its_reason_and_is_not_retried() -> None:
    expired, _ = apply(Container(guid="ig"), Expire())
    assert (expired.run_result.failed, expired.run_result.failure_reason, expired.run_result.retryable) == (
        True,
        "expired container",
        False,
    )


@pytest.mark.parametrize(("age_s", "expired"), [(0, False), (59.9, False), (60, True), (600, True)])
def test_reservations_expire_with_their_lifetime(age_s: float, expired: bool) -> None:
    container = Container(guid="ig", allocated_at=1000)
    now = 1000 + int(age_s * 1e9)
    assert is_expired(container, now, 60) is expired
    assert not is_expired(replace(container, state=S.INITIALIZING), now, 60)


def test_long_reasons_keep_head_and_tail() -> None:
    reason = "a" * 6000 + "b" * 6000
    assert cap_failure_reason(reason) == "a" * 4991 + "\n... (truncated)\n" + "b" * 4992
    assert cap_failure_reason("x" * 10000) == "x" * 10000
    assert len(cap_failure_reason("x" * 10001)) == 10000


@given(st.text(max_size=30).map(lambda text: text * 700))
def test_reasons_never_exceed_the_limit(reason: str) -> None:
    capped = cap_failure_reason(reason)
    assert len(capped.encode()) <= machine.FAILURE_REASON_LIMIT
    assert capped == reason or len(reason.encode()) > machine.FAILURE_REASON_LIMIT


class Life(RuleBasedStateMachine):
    """Any sequence of moves: refused ones change nothing, the order of states is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.container, _ = machine.reserve(AllocationRequest(guid="ig", tags={"a": "1"}), 1)
        self.states = [self.container.state]
        self.was_stopped = False
        self.told = [EventKind.RESERVED]

    @rule(move=st.sampled_from([move for move, _ in TABLE]))
    def happens(self, move: Move) -> None:
        try:
            self.container, kind = apply(self.container, move)
        except InvalidStateTransition:
            assert self.container.state not in machine.ALLOWED[type(move)]
            return
        self.was_stopped |= isinstance(move, RequestStop)
        if self.container.state is not self.states[-1]:
            self.states.append(self.container.state)
        if kind is not None:
            self.told.append(kind)

    @precondition(lambda self: self.container.state is S.RUNNING)
    @rule(routable=st.booleans())
    def flips(self, routable: bool) -> None:
        self.container, _ = apply(self.container, FlipReadiness(routable=routable))
        assert self.container.routable is routable

    @invariant()
    def states_only_go_forward(self) -> None:
        order = list(S)
        places = [order.index(state) for state in self.states]
        assert places == sorted(set(places))

    @invariant()
    def completion_is_told_exactly_when_complete(self) -> None:
        assert (EventKind.COMPLETE in self.told) is (self.container.state is S.COMPLETED)
        assert self.container.run_result.failed is (self.container.state is S.COMPLETED)

    @invariant()
    def a_request_to_stop_is_never_forgotten(self) -> None:
        assert self.container.run_result.stopped is self.was_stopped

    @invariant()
    def identity_and_tags_stay(self) -> None:
        assert self.container.guid == "ig"
        assert self.container.tags["a"] == "1"


TestLife = Life.TestCase


def test_a_refused_move_tells_what_the_container_is_and_what_happened_to_it() -> None:
    store = ContainerStore(lambda _: None, lambda: 0, Records(FailingJournal()))
    store.total = Resources(memory_mb=1, disk_mb=1, containers=1)
    store.reserve(AllocationRequest(guid="g1"))
    store.move("g1", Initialize(run_info=RunInfo()))
    for _ in range(2):
        store.move("g1", RequestStop())
    with pytest.raises(InvalidStateTransition) as caught:
        store.move("g1", BecomeReady(routable=True))
    assert str(caught.value) == (
        "container cannot transition to given state: g1 is initializing, so it cannot become ready; "
        "its last moves: initialize, request stop, request stop"
    )
    store.remove("g1")
    store.reserve(AllocationRequest(guid="g1"))
    with pytest.raises(InvalidStateTransition, match=r"g1 is reserved, .* its last moves: none"):
        store.move("g1", FlipReadiness(routable=True))
