"""Invariants of the BBS under any sequence of calls, cell crashes and convergence."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bbs.embedded.controllers.lrps import change
from bbs.embedded.decisions import evacuation
from bbs.embedded.decisions import lrps as transitions
from bbs.embedded.decisions.convergence import World, plan_index
from bbs.embedded.decisions.evacuation import Evacuation, Replaceability
from bbs.embedded.decisions.lrps import Outcome
from bbs.embedded.decisions.rows import CLAIMED, CRASHED, RUNNING, UNCLAIMED, Rows
from bbs.embedded.events.hub import Stream
from bbs.embedded.store.tables import SCHEMA, Tables
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    Presence,
    RunningData,
)
from bbs.models.desired_lrp import DesiredLRP, UpdateStrategy
from bbs.models.errors import BBSError
from bbs.models.events import (
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
)
from tests.support.thorough import examples

pytestmark = pytest.mark.unit

SECOND = 1_000_000_000
KEY = ActualLRPKey(process_guid="p", index=0, domain="d")
DESIRED = DesiredLRP(
    process_guid="p", domain="d", root_fs="docker:x", instances=1, action=RunAction(path="x", user="x")
)
INSTANCES = st.builds(
    ActualLRPInstanceKey,
    instance_guid=st.sampled_from(["a", "b", "c"]),
    cell_id=st.sampled_from(["c1", "c2"]),
)
DATA = st.builds(
    RunningData,
    net_info=st.builds(ActualLRPNetInfo, address=st.sampled_from(["10.0.0.1", "10.0.0.2"])),
    routable=st.booleans(),
)


class Index(RuleBasedStateMachine):
    """One index, everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for step in SCHEMA:
            for statement in step:
                self.connection.execute(statement)
        self.tables = Tables(self.connection)
        self.now = 1_000_000 * SECOND
        self.cells: set[str] = {"c1", "c2"}
        self.desired: DesiredLRP | None = DESIRED
        self.last_tags: dict[str, int] = {}
        self.seen: set[tuple[str, int, int]] = set()

    @initialize()
    def create(self) -> None:
        self.apply(lambda rows: transitions.create(rows, KEY, self.now))

    def rows(self) -> Rows:
        return self.tables.rows("p", 0)

    def apply(self, decide: Callable[[Rows], Outcome]) -> None:
        """Decide, write, and check what must hold between before and after."""
        self.now += SECOND
        before = self.rows()
        try:
            change(self.tables, "p", 0, decide)
        except BBSError:
            assert self.rows() == before
            assert self.tables.notices == []
        self.check_events(before, self.rows())
        self.tables.notices.clear()

    def evacuate(self, decide: Callable[[Rows], Evacuation]) -> None:
        self.apply(lambda rows: decide(rows).outcome)

    @rule(instance=INSTANCES)
    def claim(self, instance: ActualLRPInstanceKey) -> None:
        self.apply(lambda rows: transitions.claim(rows, instance, self.now))

    @rule(instance=INSTANCES, data=DATA)
    def start(self, instance: ActualLRPInstanceKey, data: RunningData) -> None:
        self.apply(lambda rows: transitions.start(rows, KEY, instance, data, self.now))

    @rule(instance=INSTANCES)
    def crash(self, instance: ActualLRPInstanceKey) -> None:
        self.apply(lambda rows: transitions.crash(rows, instance, "boom", self.now))

    @rule()
    def fail(self) -> None:
        self.apply(lambda rows: transitions.fail(rows, "no place", self.now))

    @rule(instance=st.none() | INSTANCES)
    def remove(self, instance: ActualLRPInstanceKey | None) -> None:
        self.apply(lambda rows: transitions.remove(rows, instance))

    @rule(instance=INSTANCES)
    def evacuate_claimed(self, instance: ActualLRPInstanceKey) -> None:
        self.evacuate(lambda rows: evacuation.evacuate_claimed(rows, instance, self.now))

    @rule(instance=INSTANCES)
    def evacuate_crashed(self, instance: ActualLRPInstanceKey) -> None:
        self.evacuate(lambda rows: evacuation.evacuate_crashed(rows, instance, "boom", self.now))

    @rule(instance=INSTANCES)
    def evacuate_stopped(self, instance: ActualLRPInstanceKey) -> None:
        self.evacuate(lambda rows: evacuation.evacuate_stopped(rows, instance))

    @rule(instance=INSTANCES, data=DATA, strategy=st.sampled_from(UpdateStrategy), running=st.integers(0, 1))
    def evacuate_running(
        self, instance: ActualLRPInstanceKey, data: RunningData, strategy: UpdateStrategy, running: int
    ) -> None:
        others = Replaceability(strategy=strategy, running=running, desired=1)
        self.evacuate(lambda rows: evacuation.evacuate_running(rows, KEY, instance, data, others, self.now))

    @rule(instance=INSTANCES)
    def remove_evacuating(self, instance: ActualLRPInstanceKey) -> None:
        self.apply(lambda rows: evacuation.remove_evacuating(rows, instance))

    @rule(cell=st.sampled_from(["c1", "c2"]))
    def flip_cell(self, cell: str) -> None:
        self.cells ^= {cell}

    @rule()
    def flip_desired(self) -> None:
        self.desired = None if self.desired else DESIRED

    @rule(fresh=st.booleans(), waited_s=st.sampled_from([0, 40, 2000]))
    def converge(self, fresh: bool, waited_s: int) -> None:
        self.now += waited_s * SECOND
        world = World(cells=self.cells, fresh_domains={"d"} if fresh else set(), now=self.now)
        before = self.rows()
        plan = plan_index(KEY, before, self.desired, world)
        for outcome in plan.outcomes:
            self.tables.apply(before, outcome)
            self.check_events(before, self.rows())
            self.tables.notices.clear()
            before = outcome.after
        assert self.rows() == before
        settled = plan_index(KEY, before, self.desired, world)
        assert settled.outcomes == ()

    def check_events(self, before: Rows, after: Rows) -> None:
        """A client that applies the instance stream to its copy ends with the stored rows."""
        known = {(row.modification_tag.epoch, row.presence) for row in before}
        for notice in self.tables.notices:
            if Stream.INSTANCES not in notice.streams:
                continue
            match notice.event:
                case ActualLRPInstanceCreatedEvent(actual_lrp=ActualLRP() as row):
                    known.add((row.modification_tag.epoch, row.presence))
                case ActualLRPInstanceRemovedEvent(actual_lrp=ActualLRP() as row):
                    if row not in after and not self.still_there(row, after):
                        known.discard((row.modification_tag.epoch, row.presence))
                case ActualLRPInstanceChangedEvent(before=was, after=now) if was and now:
                    known.discard((was.modification_tag.epoch, was.presence))
                    known.add((now.modification_tag.epoch, now.presence))
        assert known == {(row.modification_tag.epoch, row.presence) for row in after}
        if before == after:
            assert self.tables.notices == []

    @staticmethod
    def still_there(row: ActualLRP, after: Rows) -> bool:
        """An unclaim is shown as a removal, although the row stays."""
        return any(
            other.modification_tag.epoch == row.modification_tag.epoch and other.presence == row.presence
            for other in after
        )

    @invariant()
    def fields_fit_the_state(self) -> None:
        for row in self.rows():
            has_key = row.actual_lrp_instance_key != ActualLRPInstanceKey()
            has_address = row.actual_lrp_net_info != ActualLRPNetInfo()
            match row.state:
                case state if state == UNCLAIMED:
                    assert row.presence == Presence.ORDINARY
                    assert (has_key, has_address) == (False, False)
                case state if state == CLAIMED:
                    assert (has_key, has_address) == (True, False)
                case state if state == RUNNING:
                    assert (has_key, has_address) == (True, True)
                case state:
                    assert state == CRASHED
                    assert (has_key, has_address) == (False, False)
            if row.state != UNCLAIMED:
                assert row.placement_error == ""

    @invariant()
    def tags_only_move_forward(self) -> None:
        for row in self.rows():
            tag = row.modification_tag
            assert tag.epoch
            assert tag.index >= self.last_tags.get(tag.epoch, 0)
            self.last_tags[tag.epoch] = tag.index

    @invariant()
    def columns_say_what_the_record_says(self) -> None:
        stored = self.connection.execute(
            "SELECT presence, state, instance_guid, cell_id, since FROM actual_lrps ORDER BY presence"
        ).fetchall()
        assert stored == [
            (
                int(row.presence),
                row.state,
                row.actual_lrp_instance_key.instance_guid,
                row.actual_lrp_instance_key.cell_id,
                row.since,
            )
            for row in sorted(self.rows(), key=lambda row: row.presence)
        ]

    def teardown(self) -> None:
        self.connection.close()


TestIndex = Index.TestCase
TestIndex.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
