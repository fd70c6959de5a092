"""Time limit for the exit of a process: calls to an engine that hangs cannot be cancelled."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

EXIT_STATUS = 1

logger = logging.getLogger(__name__)


class ExitDeadline:
    """Ends the process if it still runs ``limit_s`` seconds after :meth:`arm`.

    exit: replaced in tests.
    """

    def __init__(self, limit_s: float, *, exit: Callable[[int], object] = os._exit) -> None:
        self._limit_s = limit_s
        self._exit = exit
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def arm(self) -> None:
        """Start the timer; a second call has no effect. Safe in a signal handler of the event loop."""
        if self._timer is None:
            self._timer = threading.Timer(self._limit_s, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self) -> None:
        logger.error("shutdown-timed-out", extra={"data": {"limit-s": self._limit_s}})
        for handler in logging.getLogger().handlers:
            handler.flush()
        self._exit(EXIT_STATUS)
