"""Work that a cancellation does not interrupt.

``asyncio.shield`` returns at the first cancellation while the work goes on; a wait in the exception handler
returns at the second one. Two cancellations are usual: both the enclosing step and the container cancel their
children. These functions return only after the work has ended, after any number of cancellations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def finish(
    work: Awaitable[T],
    *,
    abort: Callable[[], object] | None = None,
    discard: Callable[[T], object] | None = None,
) -> T:
    """Await ``work`` to its end; return its result or raise its error. See :func:`settle`."""
    future = asyncio.ensure_future(work)
    await settle(future, abort=abort, discard=discard)
    return future.result()


async def settle(
    future: asyncio.Future[T],
    *,
    abort: Callable[[], object] | None = None,
    discard: Callable[[T], object] | None = None,
) -> None:
    """Wait until ``future`` is done. A cancellation of the caller is raised afterwards.

    The result or error of the future is then lost. abort: called once, at the first cancellation, to end the
    work early. discard: called with a lost result to release its resources.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            if cancelled is None and abort is not None:
                abort()
            cancelled = cancelled or error
    if cancelled is None:
        return
    if not future.cancelled() and future.exception() is None and discard is not None:
        discard(future.result())
    raise cancelled
