"""Settings of an agent's process: signals, descriptor limit, garbage collector, time limit of the exit."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable
from typing import Final, Self

EXIT_STATUS: Final = 1
MOST_DESCRIPTORS: Final = 1 << 20
"""Linux's default maximum per process; some programs iterate over all allowed descriptors."""
NEW_OBJECTS: Final = 20_000
"""New objects between two collections of the youngest generation: a few megabytes."""

logger = logging.getLogger(__name__)


def stop_signals() -> tuple[signal.Signals, ...]:
    """Signals that end a command in order: of the keyboard, of a service manager, and of a closed terminal.

    Under ``nohup`` the last one stays ignored.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard limit, at most MOST_DESCRIPTORS; returns the limit.

    The usual soft limit of 1,024 is for programs that call ``select``. An agent needs several descriptors per
    container, connection and process. If the limit cannot be raised, it stays, with a log entry.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if resource.RLIM_INFINITY != soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            data = {"limit": soft, "wanted": wanted, "error": str(error)}
            logger.warning("descriptor-limit-not-raised", extra={"data": data})
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def relax_garbage_collector() -> None:
    """Collect less often, and never scan the objects that exist now: modules, classes, tables.

    By default Python looks for cycles after every 700 new objects, and sometimes in all objects. A pass over
    a thousand containers creates a hundred thousand objects, which reference counts free. Half of its time
    was the search for cycles among the records, with a share that grows with their number.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 10, 10)


class ExitDeadline:
    """Ends the process if it still runs some seconds after :meth:`arm`: engine calls can hang.

    exit: replaced in tests.
    """

    def __init__(self, *, exit: Callable[[int], object] = os._exit) -> None:
        self._exit = exit
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def arm(self, limit_s: float) -> None:
        """Start the timer; a second call has no effect. Safe in a signal handler of the event loop."""
        if self._timer is None:
            self._timer = threading.Timer(limit_s, self._expire, [limit_s])
            self._timer.daemon = True
            self._timer.start()

    def _expire(self, limit_s: float) -> None:
        logger.error("shutdown-timed-out", extra={"data": {"limit-s": limit_s}})
        for handler in logging.getLogger().handlers:
            handler.flush()
        self._exit(EXIT_STATUS)
