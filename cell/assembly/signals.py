"""Signals that ask a command to end in order."""

from __future__ import annotations

import signal


def endings() -> tuple[signal.Signals, ...]:
    """Of the keyboard, of a service manager, and of a terminal that closes.

    ``nohup`` lets a command ignore the last one; that stays so.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP
