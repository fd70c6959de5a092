"""The journal of a cell whose containers end with its process: it stores nothing."""

from __future__ import annotations

from executor.journal.api import Change, Contents, FailureReason


class NoJournal:
    """Implements :class:`executor.journal.api.Journal`."""

    contents = Contents()
    same_boot = False
    failure: FailureReason | None = None

    async def write(self, *changes: Change) -> None:
        return

    async def record(self, *changes: Change) -> None:
        return

    def post(self, *changes: Change) -> None:
        return
