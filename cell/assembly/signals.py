"""Signals for the orderly end of a command."""

from __future__ import annotations

import signal


def endings() -> tuple[signal.Signals, ...]:
    """Signals of the keyboard, of a service manager, and of a closed terminal.

    Under ``nohup`` the last one stays ignored.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP
