"""The recorded steps of containers: their rows in the journal."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass

from bbs.models.invalid import InvalidDocument
from executor.codec import decode, encode
from executor.journal.api import Journal, Put, StepRow
from executor.steps.records import StepRecord
from executor.steps.replay import History

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JournaledSteps:
    """Implements :class:`executor.steps.records.StepStore` for one container."""

    journal: Journal
    guid: str

    async def write(self, path: str, record: StepRecord) -> None:
        await self.journal.write(self._row(path, record))

    async def record(self, path: str, record: StepRecord) -> None:
        await self.journal.record(self._row(path, record))

    def post(self, path: str, record: StepRecord) -> None:
        self.journal.post(self._row(path, record))

    def _row(self, path: str, record: StepRecord) -> Put:
        return Put(StepRow(guid=self.guid, path=path, ended=bool(record.ended), value=encode(record)))


class Histories:
    """The histories of all containers of a cell.

    unreadable: guids of containers with a row that this version cannot read. Their steps cannot continue: a
    step without its record would be repeated.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._past: defaultdict[str, dict[str, StepRecord]] = defaultdict(dict)
        self.unreadable: set[str] = set()
        for row in journal.contents.steps:
            try:
                self._past[row.guid][row.path] = decode(StepRecord, row.value)
            except InvalidDocument as error:
                data = {"guid": row.guid, "path": row.path, "error": str(error)}
                log.error("unreadable-step-record", extra={"data": data})
                self.unreadable.add(row.guid)

    def of(self, guid: str) -> History:
        """The history of a container whose steps start or continue; call it once for each."""
        return History(self._past.pop(guid, {}), JournaledSteps(self._journal, guid))


class NoHistories:
    """Histories of a cell without a journal: nothing is recorded."""

    unreadable: frozenset[str] = frozenset()

    def of(self, _guid: str) -> History:
        return History()
