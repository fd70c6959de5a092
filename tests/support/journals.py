"""A journal in memory that fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from executor.journal.api import (
    Change,
    ContainerRow,
    Contents,
    DeleteContainer,
    DeleteFact,
    DeleteOutcome,
    FactRow,
    FailureReason,
    JournalError,
    OutcomeRow,
    Put,
    StepRow,
)


@dataclass
class Rows:
    """The stored rows, by their keys."""

    containers: dict[str, ContainerRow] = field(default_factory=dict)
    steps: dict[tuple[str, str], StepRow] = field(default_factory=dict)
    facts: dict[str, bytes] = field(default_factory=dict)
    outcomes: dict[str, OutcomeRow] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        match change:
            case Put(ContainerRow() as row):
                self.containers[row.guid] = row
            case Put(StepRow() as row):
                self.steps.pop((row.guid, row.path), None)
                self.steps[row.guid, row.path] = row
            case Put(FactRow() as row):
                self.facts[row.key] = row.value
            case Put(OutcomeRow() as row):
                self.outcomes[row.guid] = row
            case DeleteContainer(guid):
                self.containers.pop(guid, None)
                self.steps = {key: row for key, row in self.steps.items() if row.guid != guid}
            case DeleteFact(key):
                self.facts.pop(key, None)
            case DeleteOutcome(guid):
                self.outcomes.pop(guid, None)

    def contents(self) -> Contents:
        return Contents(
            containers=sorted(self.containers.values(), key=lambda row: row.guid),
            steps=list(self.steps.values()),
            facts=dict(sorted(self.facts.items())),
            outcomes=list(self.outcomes.values()),
        )


@dataclass
class Fault:
    """Fails writes with ``failure``; without one they hang until :attr:`gate` is set.

    skip: number of writes that succeed before. times: number of writes that fail then. about: the changes
    concerned; a write fails if it has one of them.
    """

    failure: FailureReason | None = FailureReason.FULL
    skip: int = 0
    times: int = 1 << 30
    about: Callable[[Change], bool] = lambda change: True
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def hits(self, changes: Sequence[Change]) -> bool:
        if self.times == 0 or not any(map(self.about, changes)):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class FailingJournal:
    """:class:`executor.journal.api.Journal` in memory. ``fault`` makes it fail; ``rows`` outlive it.

    A journal made from the rows of another one is that one after a restart.
    """

    def __init__(self, rows: Rows | None = None, *, same_boot: bool = True) -> None:
        self.rows = rows or Rows()
        self.contents = self.rows.contents()
        self.same_boot = same_boot
        self.fault: Fault | None = None
        self.failure: FailureReason | None = None
        self.writes: list[tuple[Change, ...]] = []
        self._backlog: list[Change] = []

    async def write(self, *changes: Change) -> None:
        self.writes.append(changes)
        fault = self.fault
        if fault is not None and fault.hits(changes or self._backlog):
            if fault.failure is not None:
                self.failure = fault.failure
                raise JournalError(fault.failure)
            await fault.gate.wait()
        self.failure = None
        for change in (*self._backlog, *changes):
            self.rows.apply(change)
        self._backlog.clear()

    async def record(self, *changes: Change) -> None:
        try:
            await self.write(*changes)
        except JournalError:
            self._backlog += changes

    async def retry(self) -> None:
        """Store the results that could not be stored, as the journal on disk does by itself."""
        await self.write()

    def post(self, *changes: Change) -> None:
        self.writes.append(changes)
        if self.fault is not None and self.fault.hits(changes):
            self.failure = self.fault.failure
            self._backlog += changes
            return
        self.failure = None
        for change in (*self._backlog, *changes):
            self.rows.apply(change)
        self._backlog.clear()
