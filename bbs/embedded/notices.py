"""What the store tells the event hub after a commit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from bbs.models.events import Event


class Stream(Enum):
    """The three kinds of event streams."""

    INSTANCES = auto()
    GROUPS = auto()
    TASKS = auto()


LRP_STREAMS = frozenset({Stream.INSTANCES, Stream.GROUPS})


@dataclass(frozen=True, slots=True)
class Notice:
    """An event and the streams it belongs to."""

    event: Event
    streams: frozenset[Stream]
