"""Small texts that several views share."""

from __future__ import annotations


def one_line(text: str) -> str:
    """A message on one line, whatever an engine or an app put into it."""
    return " ".join(text.split())


def seconds(value: float) -> str:
    """A duration for people: ``0.25s``, ``12.3s``, ``2m05s``."""
    if value < 10:
        return f"{value:.2f}s"
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02d}s"
