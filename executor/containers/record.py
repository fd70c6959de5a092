"""The record of a container in the journal: what the next agent process needs to continue with it.

A row is written at every move of a container, in order, without waiting. :meth:`Records.settled` is the barrier
before an effect: it returns once the row and all earlier ones are stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from bbs.models.invalid import InvalidDocument
from bbs.models.meta import Int64
from executor.codec import decode, encode
from executor.engine.api import EngineContainer
from executor.journal.api import ContainerRow, DeleteContainer, Journal, Put
from executor.model import Container

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """A container and what its actor knows about it.

    trace_id: of the run request. started_at_ns: monotonic, begin of the creation; valid within one boot.
    created_at_ns: since the epoch, end of the creation in the engine. readiness: the last result of the
    readiness check, None before the first. engine_id: the engine's id, stored beside the value; empty before
    the creation.
    """

    container: Container
    trace_id: str = ""
    started_at_ns: Int64 = 0
    created_at_ns: Int64 = 0
    readiness: bool | None = None
    engine_id: str = ""


class Records:
    """The records of a cell's containers, by guid, in memory and in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._records: dict[str, ContainerRecord] = {}
        self._closed = False

    def get(self, guid: str) -> ContainerRecord:
        return self._records[guid]

    def moved(self, container: Container) -> None:
        """Store the state of a container after a move."""
        known = self._records.get(container.guid)
        self._put(ContainerRecord(container=container) if known is None else replace(known, container=container))

    def initialized(self, guid: str, *, trace_id: str, started_at_ns: int) -> None:
        """Add the values of a run request to the record; the next move stores them."""
        self._change(guid, lambda record: replace(record, trace_id=trace_id, started_at_ns=started_at_ns))

    def created(self, container: EngineContainer, created_at_ns: int) -> None:
        """Add the values of a creation to the record; the next move stores them."""
        self._change(
            container.guid,
            lambda record: replace(record, engine_id=container.id, created_at_ns=created_at_ns),
        )

    def checked(self, guid: str, *, readiness: bool) -> None:
        """Store the result of a readiness check."""
        if guid in self._records and self._records[guid].readiness is not readiness:
            self._put(replace(self._records[guid], readiness=readiness))

    def restored(self, record: ContainerRecord) -> None:
        """Keep a record of the previous agent process, which the journal has already."""
        self._records[record.container.guid] = record

    def removed(self, guid: str) -> None:
        """Delete the record of a container that is destroyed, with its steps."""
        if self._records.pop(guid, None) is not None and not self._closed:
            self._journal.post(DeleteContainer(guid))

    async def settled(self, guid: str) -> None:
        """Wait until the row of the container is stored. Raises JournalError: the effect must not happen."""
        await self._journal.write(Put(to_row(self._records[guid])))

    async def close(self) -> None:
        """Store no later change: the next agent process continues from the present rows."""
        self._closed = True

    def _change(self, guid: str, change: Callable[[ContainerRecord], ContainerRecord]) -> None:
        self._records[guid] = change(self._records[guid])

    def _put(self, record: ContainerRecord) -> None:
        self._records[record.container.guid] = record
        if not self._closed:
            self._journal.post(Put(to_row(record)))


def to_row(record: ContainerRecord) -> ContainerRow:
    """The row of a record."""
    return ContainerRow(guid=record.container.guid, engine_id=record.engine_id, value=encode(record))


def from_row(row: ContainerRow) -> ContainerRecord | None:
    """The record of a row; None, with a log line, for one that this version cannot read."""
    try:
        return decode(ContainerRecord, row.value)
    except InvalidDocument as error:
        log.error("unreadable-container-record", extra={"data": {"guid": row.guid, "error": str(error)}})
        return None
