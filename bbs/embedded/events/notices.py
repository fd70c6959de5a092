"""Notices: events that the store passes to the event hub after a commit."""

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
    """An event, the streams it belongs to, and its encoded record without the number.

    The record is encoded once for all subscribers, inside the transaction and off the event loop. An event
    that cannot be encoded therefore fails the call that causes it, not a stream.
    """

    __slots__ = ("event", "record", "streams")

    def __init__(self, event: Event, streams: frozenset[Stream]) -> None:
        self.event = event
        self.streams = streams
        self.record = sse.encode_event(event)
