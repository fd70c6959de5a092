"""Ctrl-C, SIGTERM and SIGHUP as events of this process only.

A Ctrl-C reaches every process of the terminal's foreground group, including the helpers that add and remove
packet rules; a helper that dies half-way would leave rules behind. Child processes inherit signal masks but
not handlers. So the signals are blocked where helpers start, and one dedicated thread receives them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cell.assembly.process import stop_signals


class Interrupts:
    """Requests to end the run. requested: set by the first; forced: by the second."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()

    def interrupt(self) -> None:
        """Record a request to end the run."""
        (self.forced if self.requested.is_set() else self.requested).set()

    def hang_up(self) -> None:
        """Record the loss of the terminal. Shell and kernel both report it, so a repeat forces nothing."""
        self.requested.set()


@contextmanager
def received_interrupts() -> Iterator[Interrupts]:
    """Receive signals inside the block; must run in the main thread, inside the event loop."""
    interrupts = Interrupts()
    signals = stop_signals()
    loop = asyncio.get_running_loop()
    ended = threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for signum in signals:
        is_hangup = signum is signal.SIGHUP
        loop.add_signal_handler(signum, interrupts.hang_up if is_hangup else interrupts.interrupt)

    def receive() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        ended.wait()

    thread = threading.Thread(target=receive, name="signals")
    thread.start()
    try:
        yield interrupts
    finally:
        ended.set()
        thread.join()
        for signum in signals:
            loop.remove_signal_handler(signum)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
