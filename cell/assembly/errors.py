"""Base of the errors of commands; its import is cheap."""

from __future__ import annotations


class CommandError(Exception):
    """A command failed; the message names the obstacle and the remedy."""
