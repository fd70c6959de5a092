"""Ctrl-C, SIGTERM and SIGHUP as events of this process only.

A Ctrl-C reaches every process of the terminal's foreground group, also the short-lived helpers that set up
and remove packet rules; one of them dying half-way would leave something behind. Signal masks are
inherited and handlers are not: so the signals are blocked where helpers are started from, and let in by one
thread that does nothing else.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cell.assembly.signals import endings


class Interrupts:
    """How often somebody asked for the end. wanted: set by the first; insisted: by the second."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.insisted = asyncio.Event()

    def heard(self) -> None:
        """Somebody asks for the end."""
        (self.insisted if self.wanted.is_set() else self.wanted).set()

    def hung_up(self) -> None:
        """The terminal is gone. Shell and kernel both tell it, so a second time is no insistence."""
        self.wanted.set()


@contextmanager
def listening() -> Iterator[Interrupts]:
    """Take signals for the length of the block; must run in the main thread, inside the event loop."""
    interrupts = Interrupts()
    signals = endings()
    loop = asyncio.get_running_loop()
    over = threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for signum in signals:
        is_hangup = signum is signal.SIGHUP
        loop.add_signal_handler(signum, interrupts.hung_up if is_hangup else interrupts.heard)

    def let_in() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        over.wait()

    thread = threading.Thread(target=let_in, name="signals")
    thread.start()
    try:
        yield interrupts
    finally:
        over.set()
        thread.join()
        for signum in signals:
            loop.remove_signal_handler(signum)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
