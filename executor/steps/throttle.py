"""Throttle: a step that first needs a place in a pool."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from executor.places import Share
from executor.steps.base import Step

LONGEST_HOLD_S = 10.0
"""How long a step holds its place. The pool bounds how many steps work at once; one that takes longer mostly
waits, and a few dozen that hang would take all places of the cell."""


class Throttle:
    """Starts the child once there is a place for it."""

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
