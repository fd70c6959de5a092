"""Facts about the cell that a restart within one boot of the machine keeps, in the journal.

After a boot the containers of the cell are gone, so its facts no longer hold.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from executor.journal.api import Change, DeleteFact, FactRow, Journal, JournalError, Put

PRESENCE_OWNER: Final = "presence_owner"
"""Key of the owner in Locket: the same owner takes the presence again at once."""
EVACUATION_BEGUN: Final = "evacuation_begun"
"""Key of the time at which the evacuation began, in seconds of CLOCK_MONOTONIC."""

logger = logging.getLogger(__name__)


class Facts:
    """The facts of one cell. A fact that cannot be stored costs comfort after a restart, and is logged."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._found = journal.contents.facts if journal.same_boot else {}

    @property
    def evacuation_begun(self) -> float | None:
        """When the evacuation of an earlier process began; None if there was none."""
        try:
            return float(self._found[EVACUATION_BEGUN])
        except (KeyError, ValueError):
            return None

    async def presence_owner(self) -> str:
        """The owner of the cell's presence, a new one if no earlier process had one."""
        owner = self._found.get(PRESENCE_OWNER, b"").decode("ascii", "replace") or str(uuid.uuid4())
        await self._store(Put(FactRow(key=PRESENCE_OWNER, value=owner.encode())))
        return owner

    async def keep_evacuation(self, begun: float) -> None:
        """Make the next process go on with an evacuation. begun: CLOCK_MONOTONIC, in seconds."""
        await self._store(Put(FactRow(key=EVACUATION_BEGUN, value=repr(begun).encode())))

    async def forget_evacuation(self) -> None:
        """Make the next process a cell that takes work."""
        await self._store(DeleteFact(EVACUATION_BEGUN))

    async def _store(self, change: Change) -> None:
        try:
            await self._journal.record(change)
        except JournalError as error:
            logger.error("fact-not-stored", extra={"data": {"error": str(error)}})
