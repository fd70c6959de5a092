"""Copies into and out of containers: each in its own thread, and bound to its container.

A copy blocks as long as the file system does, which an app or a volume driver may serve. So it does not
use a shared thread pool, and its caller gives up if it does not end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from common.shielded import settle
from executor.errors import ContainerGone

T = TypeVar("T")

logger = logging.getLogger(__name__)

ABANDON_S = 10.0
"""Seconds until a revoked copy that hangs in a system call is abandoned."""


class Copies:
    """Running copies by container guid."""

    def __init__(self) -> None:
        self._running: defaultdict[str, set[_Copy]] = defaultdict(set)

    async def run(self, guid: str, asked: str, work: Callable[[threading.Event], T]) -> T:
        """Run ``work`` in a thread; it must end soon after the event is set.

        Cancellation sets the event and waits. ``asked`` names the copy in errors. Raises ContainerGone if
        :meth:`end` is called meanwhile, else the errors of ``work``.
        """
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        copy = _Copy(asked, result)
        self._running[guid].add(copy)
        try:
            _start(asked, lambda: work(copy.revoked), result)
            await settle(result, abort=copy.revoke)
        finally:
            copy.forget()
            self._running[guid].discard(copy)
            if not self._running[guid]:
                del self._running[guid]
        if copy.revoked.is_set():
            result.exception()
            raise ContainerGone(f"{asked}: the container is being destroyed")
        return result.result()

    def end(self, guid: str) -> None:
        """End all copies of a container before its removal."""
        for copy in tuple(self._running.get(guid, ())):
            copy.revoke()


class _Copy:
    def __init__(self, asked: str, result: asyncio.Future[T]) -> None:
        self.revoked = threading.Event()
        self._asked = asked
        self._result = result
        self._timer: asyncio.TimerHandle | None = None

    def revoke(self) -> None:
        """Signal the thread to end, and wait for it at most ABANDON_S."""
        self.revoked.set()
        if self._timer is None:
            self._timer = self._result.get_loop().call_later(ABANDON_S, self._abandon)

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _abandon(self) -> None:
        if not self._result.done():
            logger.error("copy-abandoned", extra={"data": {"copy": self._asked}})
            self._result.set_exception(ContainerGone(f"{self._asked}: the file system does not answer"))


def _start(name: str, work: Callable[[], T], result: asyncio.Future[T]) -> None:
    loop = result.get_loop()

    def deliver(set_outcome: Callable[[], None]) -> None:
        if not result.done():
            set_outcome()

    def run() -> None:
        try:
            outcome = partial(result.set_result, work())
        except BaseException as raised:  # noqa: BLE001 - raised again where the copy is awaited
            outcome = partial(result.set_exception, raised)
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
