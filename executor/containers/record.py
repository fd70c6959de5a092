"""The record of a container in the journal: what the next agent process needs to continue with it.

A row is written at every move of a container, in order, without waiting. :meth:`Records.settled` is the
barrier before an effect: it returns once all rows are stored.

The value of a row is two lines of JSON: the record without its run info, and the run info. The second is by
far the larger one and rarely changes, so it is encoded once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from bbs.models.invalid import InvalidDocument
from bbs.models.meta import Int64
from executor.codec import decode, encode
from executor.journal.api import ContainerRow, DeleteContainer, Journal, Put
from executor.model import Container, RunInfo

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


Note = Callable[[ContainerRecord], ContainerRecord]


def unchanged(record: ContainerRecord) -> ContainerRecord:
    """The note of a move that adds nothing to the record."""
    return record


class Records:
    """The records of a cell's containers, by guid, in memory and in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._records: dict[str, ContainerRecord] = {}
        self._run_infos: dict[str, tuple[RunInfo, bytes]] = {}
        """Run infos and their stored forms."""

    def moved(self, container: Container, note: Note) -> None:
        """Store a container after a move. note: adds what else is new."""
        known = self._records.get(container.guid)
        record = (
            ContainerRecord(container=container) if known is None else replace(known, container=container)
        )
        self._put(note(record))

    def checked(self, guid: str, *, readiness: bool) -> None:
        """Store the result of a readiness check."""
        if guid in self._records and self._records[guid].readiness is not readiness:
            self._put(replace(self._records[guid], readiness=readiness))

    def restored(self, record: ContainerRecord) -> None:
        """Keep a record of the previous agent process, which the journal has already."""
        self._records[record.container.guid] = record

    def removed(self, guid: str) -> None:
        """Delete the record of a container that is destroyed, with its steps."""
        self._run_infos.pop(guid, None)
        if self._records.pop(guid, None) is not None:
            self._journal.post(DeleteContainer(guid))

    async def settled(self) -> None:
        """Wait until all rows are stored. Raises JournalError: the effect must not happen."""
        await self._journal.write()

    def _put(self, record: ContainerRecord) -> None:
        self._records[record.container.guid] = record
        self._journal.post(Put(to_row(record, self._encoded(record.container))))

    def _encoded(self, container: Container) -> bytes:
        known = self._run_infos.get(container.guid)
        if known is None or known[0] is not container.run_info:
            known = container.run_info, encode(container.run_info)
            self._run_infos[container.guid] = known
        return known[1]


def to_row(record: ContainerRecord, run_info: bytes) -> ContainerRow:
    """The row of a record. run_info: the stored form of its run info."""
    bare = replace(record, engine_id="", container=replace(record.container, run_info=RunInfo()))
    value = b"\n".join((encode(bare), run_info))
    return ContainerRow(guid=record.container.guid, engine_id=record.engine_id, value=value)


def from_row(row: ContainerRow) -> ContainerRecord | None:
    """The record of a row; None, with a log line, for one that this version cannot read."""
    bare, _, run_info = row.value.partition(b"\n")
    try:
        record = decode(ContainerRecord, bare)
        container = replace(record.container, run_info=decode(RunInfo, run_info))
        return replace(record, container=container, engine_id=row.engine_id)
    except InvalidDocument as error:
        log.error("unreadable-container-record", extra={"data": {"guid": row.guid, "error": str(error)}})
        return None
