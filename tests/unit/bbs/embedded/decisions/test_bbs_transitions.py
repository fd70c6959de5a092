"""Transition tables of instances: each state and call, with the same or another key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bbs.embedded.decisions import lrps as transitions
from bbs.embedded.decisions.evacuation import Refused, Replaceability, evacuate_claimed, evacuate_running
from bbs.embedded.decisions.lrps import Outcome
from bbs.embedded.decisions.rows import CLAIMED, CRASHED, RUNNING, UNCLAIMED, Rows, cut
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    Presence,
    RunningData,
)
from bbs.models.common import ModificationTag
from bbs.models.desired_lrp import UpdateStrategy
from bbs.models.errors import BBSError, ErrorType

pytestmark = pytest.mark.unit

SECOND = 1_000_000_000
NOW = 1_000 * SECOND
KEY = ActualLRPKey(process_guid="p", index=0, domain="d")
A = ActualLRPInstanceKey(instance_guid="a", cell_id="c1")
B = ActualLRPInstanceKey(instance_guid="b", cell_id="c2")
DATA = RunningData(net_info=ActualLRPNetInfo(address="10.0.0.1"), metric_tags={"k": "v"})

E = ErrorType


def row(
    state: str,
    key: ActualLRPInstanceKey = A,
    presence: Presence = Presence.ORDINARY,
    *,
    crash_count: int = 0,
    since: int = NOW - SECOND,
) -> ActualLRP:
    on_cell = state in (CLAIMED, RUNNING)
    return ActualLRP(
        actual_lrp_key=KEY,
        actual_lrp_instance_key=key if on_cell else ActualLRPInstanceKey(),
        actual_lrp_net_info=DATA.net_info if state == RUNNING else ActualLRPNetInfo(),
        metric_tags=DATA.metric_tags if state == RUNNING else {},
        state=state,
        since=since,
        presence=presence,
        routable=True,
        crash_count=crash_count,
        modification_tag=ModificationTag(epoch="e", index=7),
    )


def ordinary(state: str, key: ActualLRPInstanceKey = A) -> Rows:
    return Rows(ordinary=row(state, key))


def claim(rows: Rows) -> Outcome:
    return transitions.claim(rows, A, NOW)


def start(rows: Rows) -> Outcome:
    return transitions.start(rows, KEY, A, DATA, NOW)


def crash(rows: Rows) -> Outcome:
    return transitions.crash(rows, A, "boom", NOW)


def fail(rows: Rows) -> Outcome:
    return transitions.fail(rows, "no place", NOW)


def remove(rows: Rows) -> Outcome:
    return transitions.remove(rows, A)


NOTHING = "nothing"
GONE = "gone"

TABLE: list[tuple[Callable[[Rows], Outcome], Rows, str | ErrorType]] = [
    (claim, Rows(), E.ResourceNotFound),
    (claim, ordinary(UNCLAIMED), CLAIMED),
    (claim, ordinary(CLAIMED), NOTHING),
    (claim, ordinary(CLAIMED, B), E.ActualLRPCannotBeClaimed),
    (claim, ordinary(RUNNING), CLAIMED),
    (claim, ordinary(RUNNING, B), E.ActualLRPCannotBeClaimed),
    (claim, ordinary(CRASHED), E.ActualLRPCannotBeClaimed),
    (start, Rows(), RUNNING),
    (start, ordinary(UNCLAIMED), RUNNING),
    (start, ordinary(CLAIMED), RUNNING),
    (start, ordinary(CLAIMED, B), RUNNING),
    (start, ordinary(RUNNING), NOTHING),
    (start, ordinary(RUNNING, B), E.ActualLRPCannotBeStarted),
    (start, ordinary(CRASHED), E.ActualLRPCannotBeStarted),
    (crash, Rows(), E.ResourceNotFound),
    (crash, ordinary(UNCLAIMED), E.ActualLRPCannotBeCrashed),
    (crash, ordinary(CLAIMED), UNCLAIMED),
    (crash, ordinary(CLAIMED, B), E.ActualLRPCannotBeCrashed),
    (crash, ordinary(RUNNING), UNCLAIMED),
    (crash, ordinary(RUNNING, B), E.ActualLRPCannotBeCrashed),
    (crash, ordinary(CRASHED), E.ActualLRPCannotBeCrashed),
    (fail, Rows(), NOTHING),
    (fail, ordinary(UNCLAIMED), UNCLAIMED),
    (fail, ordinary(CLAIMED), E.ActualLRPCannotBeFailed),
    (fail, ordinary(RUNNING), E.ActualLRPCannotBeFailed),
    (fail, ordinary(CRASHED), E.ActualLRPCannotBeFailed),
    (remove, Rows(), E.ResourceNotFound),
    (remove, ordinary(CLAIMED), GONE),
    (remove, ordinary(RUNNING), GONE),
    (remove, ordinary(RUNNING, B), E.ResourceNotFound),
    (remove, ordinary(UNCLAIMED), E.ResourceNotFound),
]


@pytest.mark.parametrize(("call", "rows", "expected"), TABLE)
def test_table(call: Callable[[Rows], Outcome], rows: Rows, expected: str | ErrorType) -> None:
    if isinstance(expected, ErrorType):
        with pytest.raises(BBSError) as refused:
            call(rows)
        assert refused.value.type == expected
        return
    outcome = call(rows)
    if expected == NOTHING:
        assert outcome == Outcome(rows)
    elif expected == GONE:
        assert not outcome.after
        assert len(outcome.events) == 1
    else:
        after = outcome.after.ordinary
        assert after is not None
        assert after.state == expected
        assert after.since == NOW
        assert outcome.events
        if rows.ordinary is not None:
            assert after.modification_tag == ModificationTag(epoch="e", index=8)


@pytest.mark.parametrize("call", [claim, start])
def test_naming_the_suspect_row_changes_nothing(call: Callable[[Rows], Outcome]) -> None:
    rows = Rows(ordinary=row(UNCLAIMED), suspect=row(RUNNING, A, Presence.SUSPECT))
    assert call(rows) == Outcome(rows)


def test_a_crash_of_the_suspect_row_deletes_it() -> None:
    rows = Rows(ordinary=row(UNCLAIMED), suspect=row(RUNNING, A, Presence.SUSPECT))
    assert crash(rows).after == Rows(ordinary=rows.ordinary)


def test_a_started_instance_supersedes_evacuating_and_suspect_ones() -> None:
    rows = Rows(
        ordinary=row(CLAIMED),
        evacuating=row(RUNNING, B, Presence.EVACUATING),
        suspect=row(RUNNING, B, Presence.SUSPECT),
    )
    outcome = start(rows)
    assert outcome.after.evacuating is None
    assert outcome.after.suspect is None
    assert [type(event).__name__ for event in outcome.events] == [
        "ActualLRPInstanceChangedEvent",
        "ActualLRPInstanceRemovedEvent",
        "ActualLRPInstanceRemovedEvent",
    ]


def test_start_in_another_domain_is_refused() -> None:
    other = replace(KEY, domain="other")
    with pytest.raises(BBSError) as refused:
        transitions.start(ordinary(CLAIMED), other, A, DATA, NOW)
    assert refused.value.type == ErrorType.ActualLRPCannotBeStarted


@pytest.mark.parametrize(
    ("count", "ran_for_s", "expected_count", "expected_state"),
    [
        (0, 1, 1, UNCLAIMED),
        (1, 1, 2, UNCLAIMED),
        (2, 1, 3, CRASHED),
        (2, 300, 3, CRASHED),
        (2, 301, 1, UNCLAIMED),
        (198, 1, 199, CRASHED),
        (199, 1, 200, CRASHED),
    ],
)
def test_crash_policy(count: int, ran_for_s: int, expected_count: int, expected_state: str) -> None:
    before = row(RUNNING, crash_count=count, since=NOW - ran_for_s * SECOND)
    outcome = crash(Rows(ordinary=before))
    after = outcome.after.ordinary
    assert after is not None
    assert (after.crash_count, after.state, after.crash_reason) == (expected_count, expected_state, "boom")
    assert outcome.auction is (expected_state == UNCLAIMED)
    assert after.actual_lrp_instance_key == ActualLRPInstanceKey()
    assert after.actual_lrp_net_info == ActualLRPNetInfo()
    assert after.metric_tags == DATA.metric_tags


@pytest.mark.parametrize(
    ("count", "wait_s"), [(3, 30), (4, 60), (5, 120), (6, 240), (7, 480), (8, 960), (9, 960), (199, 960)]
)
def test_wait_before_a_restart(count: int, wait_s: int) -> None:
    crashed = row(CRASHED, crash_count=count, since=NOW)
    assert not transitions.restart_due(crashed, NOW + wait_s * SECOND)
    assert transitions.restart_due(crashed, NOW + wait_s * SECOND + 1)


def test_two_hundred_crashes_are_enough() -> None:
    assert not transitions.restart_due(row(CRASHED, crash_count=200, since=0), NOW * 1000)


def test_reasons_are_cut() -> None:
    assert cut("x" * 1024) == "x" * 1024
    assert cut("ö" * 1024) == "ö" * 506 + "(truncated)"


RECREATE = UpdateStrategy.RECREATE


@pytest.mark.parametrize(
    ("rows", "others", "states", "keep", "auction"),
    [
        (Rows(), Replaceability(), [], False, False),
        (ordinary(RUNNING), Replaceability(), ["ORDINARY UNCLAIMED", "EVACUATING RUNNING"], True, True),
        (ordinary(RUNNING, B), Replaceability(), ["ORDINARY RUNNING"], False, False),
        (ordinary(CRASHED), Replaceability(), ["ORDINARY CRASHED"], False, False),
        (
            ordinary(UNCLAIMED),
            Replaceability(),
            ["ORDINARY UNCLAIMED", "EVACUATING RUNNING"],
            True,
            False,
        ),
        (
            Rows(ordinary=row(UNCLAIMED), evacuating=row(RUNNING, B, Presence.EVACUATING)),
            Replaceability(),
            ["ORDINARY UNCLAIMED", "EVACUATING RUNNING"],
            False,
            False,
        ),
        (
            Rows(ordinary=row(RUNNING, B), evacuating=row(RUNNING, A, Presence.EVACUATING)),
            Replaceability(),
            ["ORDINARY RUNNING"],
            False,
            False,
        ),
        (Rows(evacuating=row(RUNNING, A, Presence.EVACUATING)), Replaceability(), [], False, False),
        (
            Rows(ordinary=row(UNCLAIMED), suspect=row(RUNNING, A, Presence.SUSPECT)),
            Replaceability(),
            ["ORDINARY UNCLAIMED", "SUSPECT RUNNING"],
            False,
            False,
        ),
        (
            ordinary(RUNNING),
            Replaceability(strategy=RECREATE, running=2, desired=2),
            ["ORDINARY UNCLAIMED"],
            False,
            True,
        ),
        (
            ordinary(RUNNING),
            Replaceability(strategy=RECREATE, running=1, desired=2),
            ["ORDINARY RUNNING"],
            True,
            False,
        ),
        (
            Rows(ordinary=row(UNCLAIMED), evacuating=row(RUNNING, A, Presence.EVACUATING)),
            Replaceability(strategy=RECREATE, running=0, desired=1),
            ["ORDINARY UNCLAIMED"],
            False,
            False,
        ),
    ],
)
def test_evacuate_running(
    rows: Rows, others: Replaceability, states: list[str], keep: bool, auction: bool
) -> None:
    evacuation = evacuate_running(rows, KEY, A, DATA, others, NOW)
    assert [f"{r.presence.name} {r.state}" for r in evacuation.outcome.after] == states
    assert evacuation.keep_container is keep
    assert evacuation.outcome.auction is auction


def test_evacuate_claimed_of_an_unknown_instance_is_refused_and_not_kept() -> None:
    with pytest.raises(Refused) as refused:
        evacuate_claimed(ordinary(CLAIMED, B), A, NOW)
    assert refused.value.type == ErrorType.ResourceNotFound
    assert refused.value.keep_container is False


def test_suspect_keeps_tag_and_since_and_its_replacement_is_new() -> None:
    before = row(RUNNING)
    outcome = transitions.suspect(Rows(ordinary=before), NOW)
    assert outcome.after.suspect == replace(before, presence=Presence.SUSPECT)
    assert outcome.after.ordinary is not None
    assert outcome.after.ordinary.modification_tag.epoch != "e"
    assert outcome.auction


def test_a_second_suspect_is_only_unclaimed() -> None:
    rows = Rows(ordinary=row(RUNNING, B), suspect=row(RUNNING, A, Presence.SUSPECT))
    outcome = transitions.suspect(rows, NOW)
    assert outcome.after.suspect == rows.suspect
    assert outcome.after.ordinary is not None
    assert outcome.after.ordinary.state == UNCLAIMED
    assert not outcome.auction
