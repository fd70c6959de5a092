"""Throttle: a step that waits for a slot of a pool."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from executor.places import Share
from executor.steps.base import Step

LONGEST_HOLD_S = 10.0
"""Maximum time a step holds its slot.

The pool bounds the number of busy steps. A longer step mostly waits, and without the limit a few dozen
hanging steps would take all slots of the cell.
"""


class Throttle:
    """Starts the child once a slot is free."""

    def __init__(self, step: Step, places: Share) -> None:
        self._step = step
        self._places = places
        self.ready = step.ready

    async def run(self) -> None:
        await self._places.acquire()
        with ExitStack() as place:
            place.callback(self._places.release)
            giving_back = asyncio.get_running_loop().call_later(LONGEST_HOLD_S, place.close)
            place.callback(giving_back.cancel)
            await self._step.run()
