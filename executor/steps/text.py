"""Formatting of durations and truncated errors in messages."""

from __future__ import annotations

from bbs.models import durations

_ERROR_LIMIT = 1024
_TRUNCATED = b" (error truncated)"


def format_duration(seconds: float) -> str:
    """Format seconds in the notation of :func:`bbs.models.durations.format_duration`."""
    return durations.format_duration(round(seconds * durations.SECOND))


def truncate_error(message: str) -> bytes:
    """A message for stderr, truncated to 1024 bytes including the truncation mark."""
    encoded = message.encode(errors="replace")
    if len(encoded) <= _ERROR_LIMIT:
        return encoded
    return encoded[: _ERROR_LIMIT - len(_TRUNCATED)] + _TRUNCATED
