"""Work that a cancellation does not interrupt.

``asyncio.shield`` returns at the first cancellation, while the work goes on; a wait for the work in the
handler returns at the second one. Two cancellations are usual: the step above and the container above both
end their children. What is here returns only when the work has ended, however many cancellations arrive.
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
    """Await ``work`` to its end and return its result, or raise its error; see :func:`settle`."""
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

    The result or error of the future is then lost. abort: called once, at the first cancellation; it makes
    the work end early. discard: called with a result that is lost; it releases what the result holds.
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
