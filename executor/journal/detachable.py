"""A journal that one part of the agent can be detached from, while others still use it."""

from __future__ import annotations

import asyncio

from executor.journal.api import Change, Contents, FailureReason, Journal


class DetachableJournal:
    """Implements :class:`executor.journal.api.Journal` with another one.

    Once detached, it stores nothing: the next agent process continues from the present rows.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._detached = False

    @property
    def contents(self) -> Contents:
        return self._journal.contents

    @property
    def same_boot(self) -> bool:
        return self._journal.same_boot

    @property
    def failure(self) -> FailureReason | None:
        return self._journal.failure

    async def write(self, *changes: Change) -> None:
        """Raises CancelledError once detached: the caller's work belongs to the next agent process."""
        self._refuse_if_detached()
        await self._journal.write(*changes)

    async def record(self, *changes: Change) -> None:
        """Raises CancelledError once detached."""
        self._refuse_if_detached()
        await self._journal.record(*changes)

    def post(self, *changes: Change) -> None:
        """Drops the changes once detached."""
        if not self._detached:
            self._journal.post(*changes)

    def detach(self) -> None:
        """Store nothing from now on."""
        self._detached = True

    async def flush(self) -> None:
        """Wait until everything posted so far is stored, or kept for a retry; also once detached."""
        await self._journal.record()

    def _refuse_if_detached(self) -> None:
        if self._detached:
            raise asyncio.CancelledError
