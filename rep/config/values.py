"""Types of the values in ``rep.json``."""

from __future__ import annotations

from enum import Enum
from typing import NewType

from common.gotext import parse_duration

Duration = NewType("Duration", int)
"""Nanoseconds."""


def seconds(duration: Duration) -> float:
    """The duration in seconds, for asyncio."""
    return duration / 1e9


def go_duration(text: str) -> Duration:
    return Duration(parse_duration(text))


class Source(Enum):
    """The origin of an effective value."""

    FILE = "file"
    DEFAULT = "default"
    FLAG = "flag"
