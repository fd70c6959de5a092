"""Short texts for several views."""

from __future__ import annotations

from cell.runner.events import RunEnded


def seconds(value: float) -> str:
    """A duration for people: ``0.25s``, ``12.3s``, ``2m05s``."""
    if value < 10:
        return f"{value:.2f}s"
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02d}s"


def failure_text(ended: RunEnded) -> str:
    """Reason, cause, step and container of a failure."""
    what = f"{ended.reason}: {ended.cause}" if ended.cause else ended.reason
    where = f"step {ended.path}, " if ended.path else ""
    return f"{what} ({where}container {ended.guid})"
