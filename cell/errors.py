"""Errors of commands, and the exit codes of a run. Its import is cheap."""

from __future__ import annotations

SUCCESS = 0
FAILED = 1
"""The action tree failed."""
BAD_INPUT = 2
"""The document, an option or the image is invalid."""
HOST = 3
"""The engine or this machine failed."""
INTERRUPTED = 130
"""A signal ended the run, after a graceful stop."""


class CommandError(Exception):
    """A command failed; the message names the obstacle and the remedy."""


class BadInput(Exception):
    """The input cannot be run; the message gives the place, the problem and the expected form."""
