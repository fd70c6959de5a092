"""Who waits for containers to go is told when one has gone.

The executor has no event for a destroyed container; but every deletion of a cell is asked for by the
rep, so the rep knows.
"""

from __future__ import annotations

import asyncio


class Removals:
    """Wakes everybody who waits, at every deletion."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """A container was deleted."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, at_most_s: float) -> None:
        """Until the next deletion, or until that time has passed."""
        changed = self._changed
        try:
            async with asyncio.timeout(at_most_s):
                await changed.wait()
        except TimeoutError:
            return
