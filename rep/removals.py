"""Notification of deleted containers.

The executor has no event for a destroyed container, but every deletion starts in the rep, which
notifies the waiting callers.
"""

from __future__ import annotations

import asyncio


class Removals:
    """Wakes all waiting callers at every deletion."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Report the deletion of a container."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, at_most_s: float) -> None:
        """Wait until the next deletion, or until the time limit."""
        changed = self._changed
        try:
            async with asyncio.timeout(at_most_s):
                await changed.wait()
        except TimeoutError:
            return
