"""Work that is done again and again, and parts of the cell that last: one failure ends neither."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from executor.errors import ExecutorError

log = logging.getLogger(__name__)

FAILED_PASSES_MOST = 100
"""Passes of one periodic job in a row that may fail for an unforeseen reason: three minutes and more. The
cell then ends: a new start may help, and without the job it would break its promises in silence."""

PART_PAUSE_S = 1.0
"""Pause before a failed part of the cell begins again."""


async def every(interval_s: float, job: Callable[[], Coroutine[object, object, None]]) -> None:
    """A pass of the job per interval, counted from the end of the one before.

    A failed pass is logged, with its trace when it is the first in a row that nobody foresaw. Raises
    ExecutorError after FAILED_PASSES_MOST of those in a row.
    """
    name, unforeseen = job.__name__.strip("_"), 0
    while True:
        await asyncio.sleep(interval_s)
        try:
            await job()
        except ExecutorError as error:
            log.error("upkeep-failed", extra={"data": {"job": name, "error": str(error)}})
        except Exception as error:
            unforeseen += 1
            data = {"job": name, "error": str(error), "in-a-row": unforeseen}
            log.error("upkeep-failed", exc_info=error if unforeseen == 1 else None, extra={"data": data})
            if unforeseen >= FAILED_PASSES_MOST:
                raise ExecutorError(f"{name} failed {unforeseen} times in a row: {error}") from error
        else:
            unforeseen = 0


async def lasting(run: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a part of the cell until it ends by itself; one that fails is logged and begins again."""
    while True:
        try:
            return await run()
        except Exception as error:
            data = {"part": type(getattr(run, "__self__", run)).__name__, "error": str(error)}
            log.error("part-failed", exc_info=error, extra={"data": data})
        await asyncio.sleep(PART_PAUSE_S)
