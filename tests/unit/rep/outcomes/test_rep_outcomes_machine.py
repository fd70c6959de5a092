"""Any history of failures and kills of the rep: the BBS records every outcome exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bbs.client.transport import UnansweredError
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from bbs.models.errors import BBSError, ErrorType
from executor.journal.api import Change, FailureReason
from rep.outcomes.courier import Courier
from rep.outcomes.ledger import Ledger
from rep.outcomes.reports import CompleteTask, CrashActualLRP, EndReport, Instance, guid_of
from rep.removals import Removals
from tests.support.journals import FailingJournal, Fault, Rows
from tests.support.outcomes import QUICK

pytestmark = pytest.mark.unit

CONTAINERS = 4


class Killed(BaseException):
    """The rep ends here."""


class Life:
    """Kills the rep after so many steps; a step is the time before or after a write or a call."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def step(self) -> None:
        if self.steps is None:
            return
        self.steps -= 1
        if self.steps < 0:
            raise Killed


class MortalJournal(FailingJournal):
    """The rep can be killed around each write."""

    def __init__(self, rows: Rows, life: Life) -> None:
        super().__init__(rows)
        self._life = life

    async def write(self, *changes: Change) -> None:
        self._life.step()
        await super().write(*changes)
        self._life.step()


class ModelBBS:
    """Records the first report of a container, and refuses the next as a BBS does."""

    def __init__(self) -> None:
        self.recorded: dict[str, EndReport] = {}
        self.records = Counter[str]()
        self.away = False
        self.loses_answers = False

    def take(self, report: EndReport) -> None:
        if self.away:
            raise UnansweredError(ErrorType.InvalidResponse, "connection refused")
        refusal: BBSError | None = None
        if guid_of(report) in self.recorded:
            task = isinstance(report, CompleteTask)
            refusal = BBSError(
                ErrorType.InvalidStateTransition if task else ErrorType.ActualLRPCannotBeCrashed
            )
        else:
            self.recorded[guid_of(report)] = report
            self.records[guid_of(report)] += 1
        if self.loses_answers:
            raise UnansweredError(ErrorType.Timeout, "no answer")
        if refusal is not None:
            raise refusal


class OutcomesOfOneCell(RuleBasedStateMachine):
    """A few containers end; the executor keeps each one until its outcome is settled."""

    def __init__(self) -> None:
        super().__init__()
        self.bbs = ModelBBS()
        self.rows = Rows()
        self.ended: dict[str, EndReport] = {}
        self.containers: dict[str, EndReport] = {}
        self.full = False
        self.begin(None)
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def begin(self, steps: int | None) -> None:
        """A new process of the rep, which has only the stored rows."""
        self.life = Life(steps)
        journal = MortalJournal(self.rows, self.life)
        journal.fault = Fault(FailureReason.FULL) if self.full else None
        self.journal = journal
        self.removals = Removals()
        self.courier = Courier(
            Ledger(journal), self.send, self.removals, probes=QUICK, repeats=QUICK, spread_s=0.001
        )

    async def send(self, report: EndReport, trace_id: str, *, repeated: bool) -> None:
        self.life.step()
        self.bbs.take(report)
        self.life.step()

    def live(self, work: Coroutine[Any, Any, None], steps: int | None) -> None:
        """Do some work; after so many steps the process is killed and another one begins."""
        self.life.steps = steps
        try:
            self.runner.run(work)
        except* Killed:
            self.begin(None)
        self.life.steps = None

    async def reconcile(self) -> None:
        """What a bulk pass does: settle, then delete."""
        for guid, report in [*self.containers.items()]:
            if await self.courier.settle(report, ""):
                del self.containers[guid]

    async def deliver(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.03), self.courier.running():
                while self.courier.ledger:
                    await self.removals.wait(0.01)

    @rule(number=st.integers(0, CONTAINERS - 1))
    def end(self, number: int) -> None:
        guid = f"container-{number}"
        if guid in self.ended:
            return
        report: EndReport = CompleteTask(guid, False, "", f"result {number}")
        if number % 2:
            who = Instance(
                key=ActualLRPKey(process_guid="web", index=number, domain="apps"),
                instance_key=ActualLRPInstanceKey(instance_guid=guid, cell_id="cell-1"),
            )
            report = CrashActualLRP(who, f"reason {number}")
        self.ended[guid] = self.containers[guid] = report

    @rule(steps=st.none() | st.integers(0, 12))
    def pass_over_everything(self, steps: int | None) -> None:
        self.live(self.reconcile(), steps)

    @rule(steps=st.none() | st.integers(0, 12))
    def send_what_waits(self, steps: int | None) -> None:
        self.live(self.deliver(), steps)

    @rule(away=st.booleans(), loses_answers=st.booleans())
    def network(self, away: bool, loses_answers: bool) -> None:
        self.bbs.away, self.bbs.loses_answers = away, loses_answers

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self.full = full
        self.journal.fault = Fault(FailureReason.FULL) if full else None

    @rule()
    def everything_fails(self) -> None:
        self.network(away=True, loses_answers=False)
        self.disk(full=True)
        self.live(self.reconcile(), None)

    @rule()
    def kill(self) -> None:
        self.begin(None)

    @invariant()
    def an_outcome_is_somewhere(self) -> None:
        for guid in self.ended:
            assert guid in self.containers or guid in self.rows.outcomes or guid in self.bbs.recorded

    @invariant()
    def nothing_is_recorded_twice_or_changed(self) -> None:
        assert all(count == 1 for count in self.bbs.records.values())
        for guid, report in self.bbs.recorded.items():
            assert report == self.ended[guid]

    def teardown(self) -> None:
        try:
            self.network(away=False, loses_answers=False)
            self.disk(full=False)
            for _ in range(50):
                self.live(self.reconcile(), None)
                self.live(self.deliver(), None)
                self.live(self.journal.retry(), None)
                if not (self.containers or self.courier.ledger):
                    break
            assert self.bbs.recorded == self.ended
            assert (self.containers, self.rows.outcomes) == ({}, {})
        finally:
            self.runner.close()


def test_every_outcome_is_recorded_once() -> None:
    run_state_machine_as_test(
        OutcomesOfOneCell, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
    )
