"""How a run ends, as a number."""

from __future__ import annotations

from cell.assembly.failures import CommandError

SUCCESS = 0
FAILED = 1
"""The tree failed."""
BAD_INPUT = 2
"""The document, an option or the image is not what it should be."""
HOST = 3
"""The engine or this machine could not do it."""
INTERRUPTED = 130
"""Ended by a signal, after a graceful stop."""


class BadInput(Exception):
    """What was given cannot be run; says what, where, and what was expected."""


class HostCannot(CommandError):
    """The engine or the machine cannot do it; says what is in the way."""
