"""Supervision of the rep in a container: it is started again when it fails, until a stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from bbs.backoff import Backoff
from cell.container.children import Child, first_ended

STOP_S: Final = 75.0
"""Time for the rep to end; more than its own limit."""
FINAL: Final = (0, 2)
"""Exit statuses of a rep that is not started again: it ended in order, or cannot start with its settings."""
AGAIN: Final = Backoff(attempts=0, first_s=0.5, most_s=10.0)
STEADY_S: Final = 60.0
"""A rep that ran this long starts again at once if it fails."""
HELPER_ENDED: Final = 1

logger = logging.getLogger(__name__)


async def supervise(
    command: Sequence[str], helpers: Sequence[Child], stop: asyncio.Event, again: Backoff = AGAIN
) -> int:
    """Keep a rep running; apps stay while there is none. Returns the exit status of the container.

    helpers: the processes that the rep needs; the end of one ends all. stop: stops the rep in order.
    """
    failures = 0
    while True:
        began = time.monotonic()
        async with Child.running("the rep", command, STOP_S) as rep:
            ended = await first_ended([rep, *helpers], stop)
        status = rep.process.returncode or 0
        if ended is None:
            return status
        if ended is not rep:
            data = {"child": ended.name, "exit-status": ended.process.returncode}
            logger.error("child-ended", extra={"data": data})
            return HELPER_ENDED
        if status in FINAL:
            return status
        failures = 1 if time.monotonic() - began > STEADY_S else failures + 1
        logger.error("rep-failed", extra={"data": {"exit-status": status, "failures": failures}})
        with suppress(TimeoutError):
            async with asyncio.timeout(again.pause_s(failures)):
                await stop.wait()
        if stop.is_set():
            return 0
