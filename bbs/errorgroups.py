"""Errors inside exception groups."""

from __future__ import annotations

from collections.abc import Iterator


def leaves(error: Exception) -> Iterator[Exception]:
    """The errors inside nested groups; every enclosing task group adds one level."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
