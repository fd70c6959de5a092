"""asyncssh as these programs use it."""

from __future__ import annotations

import logging

import asyncssh

# Its own log speaks of every packet; what the programs log is theirs.
asyncssh.set_log_level(logging.CRITICAL)

__all__ = ["asyncssh"]
