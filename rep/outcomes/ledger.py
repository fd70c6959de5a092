"""The ledger: the reports that the BBS has not answered yet, in memory and in the journal.

It is bounded in number and bytes, and drops nothing: at a bound it refuses the new report, and the
container of a refused report stays until there is space. The oldest reports stay in the ledger.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bbs.models.invalid import InvalidDocument
from common.failpoints import failpoint
from executor.journal.api import DeleteOutcome, Journal, JournalError, OutcomeRow, Put
from rep.outcomes.reports import EndReport, Entry, decode, encode, guid_of

MAX_ENTRIES: Final = 10_000
MAX_BYTES: Final = 64 << 20

logger = logging.getLogger(__name__)


class Ledger:
    """Entries by guid, in the order of their recording. journal: stores them. now: s since the epoch."""

    def __init__(
        self,
        journal: Journal,
        *,
        now: Callable[[], float] = time.time,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._journal = journal
        self._now = now
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: dict[str, Entry] = {}
        self._sizes: dict[str, int] = {}
        self._unstored: set[str] = set()
        self._unreadable: list[str] = []
        for row in journal.contents.outcomes:
            try:
                entry = decode(row.value)
            except InvalidDocument as error:
                data = {"guid": row.guid, "error": str(error)}
                logger.error("outcomes.unreadable", extra={"data": data})
                self._unreadable.append(row.guid)
                continue
            self._entries[row.guid] = entry
            self._sizes[row.guid] = len(row.value)

    def __contains__(self, guid: object) -> bool:
        return guid in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self._entries

    @property
    def failure(self) -> str:
        """Why the journal cannot store reports; empty if it can."""
        return self._journal.failure.value if self._journal.failure else ""

    def is_stored(self, guid: str) -> bool:
        """Whether a restart does not lose the report of a container."""
        return guid in self._entries and guid not in self._unstored

    async def add(self, report: EndReport, trace_id: str) -> bool:
        """Keep a report; whether it is stored, so that a restart does not lose it.

        The first report of a container counts; a later one only repeats a failed write.
        """
        guid = guid_of(report)
        if self.is_stored(guid):
            return True
        entry = self._entries.get(guid) or Entry(report=report, trace_id=trace_id, recorded_at=self._now())
        value = encode(entry)
        if guid not in self._entries:
            if len(self._entries) >= self._max_entries or self.bytes + len(value) > self._max_bytes:
                data = {"guid": guid, "entries": len(self._entries), "bytes": self.bytes}
                logger.error("outcomes.ledger-full", extra={"data": data})
                return False
            self._entries[guid] = entry
            self._sizes[guid] = len(value)
        self._unstored.add(guid)
        try:
            await self._journal.write(Put(OutcomeRow(guid=guid, value=value)))
        except JournalError as error:
            data = {"guid": guid, "error": str(error)}
            logger.error("outcomes.not-stored", extra={"data": data})
            return False
        self._unstored.discard(guid)
        failpoint("outcome.stored")
        return True

    async def discard_unreadable(self) -> None:
        """Delete the rows that could not be decoded, so that they are logged once."""
        await self._delete(*self._unreadable)
        self._unreadable.clear()

    async def remove(self, guid: str) -> None:
        """Forget a report that the BBS has answered. A restart before the journal does repeats it."""
        if guid not in self._entries:
            return
        del self._entries[guid], self._sizes[guid]
        self._unstored.discard(guid)
        await self._delete(guid)

    @property
    def bytes(self) -> int:
        """The size of all entries in the journal."""
        return sum(self._sizes.values())

    async def _delete(self, *guids: str) -> None:
        if not guids:
            return
        try:
            await self._journal.record(*map(DeleteOutcome, guids))
        except JournalError as error:
            data = {"container-guids": guids, "error": str(error)}
            logger.error("outcomes.not-removed", extra={"data": data})
