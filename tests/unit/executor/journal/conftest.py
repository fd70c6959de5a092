"""Rows of every table, and their changes."""

from __future__ import annotations

from collections.abc import Sequence

from executor.journal.api import Change, ContainerRow, FactRow, OutcomeRow, Put, StepRow

BOOT = "11111111-1111-1111-1111-111111111111"


def rows_of(number: int, size: int = 300) -> Sequence[Change]:
    """One change for each table; the values differ by number."""
    value = b"%05d" % number * (size // 5)
    guid = f"container-{number}"
    return (
        Put(ContainerRow(guid=guid, value=value, engine_id=f"engine-{number}")),
        Put(StepRow(guid=guid, path="action/run", ended=bool(number % 2), value=value)),
        Put(FactRow(key=f"fact-{number}", value=value)),
        Put(OutcomeRow(guid=guid, value=value)),
    )
