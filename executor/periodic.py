"""Periodic jobs and long-running parts of the cell: a single failure ends neither."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from executor.errors import ExecutorError

log = logging.getLogger(__name__)

FAILED_PASSES_MOST = 100
"""Maximum number of unexpected failures of one periodic job in a row, at least three minutes of passes.

The cell then exits: a restart may help, and without the job it would silently break its promises.
"""

PART_PAUSE_S = 1.0
"""Pause before a failed part of the cell restarts."""


async def every(interval_s: float, job: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run the job periodically; the interval starts at the end of the previous pass.

    A failed pass is logged, with a trace for the first unexpected failure in a row. Raises ExecutorError
    after FAILED_PASSES_MOST unexpected failures in a row.
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
    """Run a part of the cell until it returns; a failed one is logged and restarted."""
    while True:
        try:
            return await run()
        except Exception as error:
            data = {"part": type(getattr(run, "__self__", run)).__name__, "error": str(error)}
            log.error("part-failed", exc_info=error, extra={"data": data})
        await asyncio.sleep(PART_PAUSE_S)
