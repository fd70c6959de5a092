"""What the store tells the event hub after a commit."""

from __future__ import annotations

from enum import Enum, auto

from bbs.models.events import Event
from bbs.wire import sse


class Stream(Enum):
    """The three kinds of event streams."""

    INSTANCES = auto()
    GROUPS = auto()
    TASKS = auto()


LRP_STREAMS = frozenset({Stream.INSTANCES, Stream.GROUPS})


class Notice:
    """An event, the streams it belongs to, and its record on them, less the number.

    The record is made with the notice, inside the transaction: it is made once for all subscribers, off the
    event loop, and an event that cannot be encoded fails the call that causes it and no stream.
    """

    __slots__ = ("event", "record", "streams")

    def __init__(self, event: Event, streams: frozenset[Stream]) -> None:
        self.event = event
        self.streams = streams
        self.record = sse.encode_event(event)
