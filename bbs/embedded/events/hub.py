"""Event hub: the notices of committed events, and the subscribers of the three event streams.

Publishing never waits. Each subscriber has a bounded buffer. If it exceeds the limit when the next commit is
published, the subscription ends. The client must then subscribe and list again, as after any disconnect. A
single commit may have any size: a subscriber that keeps up gets all of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from bbs.embedded.decisions.events import resolved
from bbs.models.actual_lrp import ActualLRP, ActualLRPGroup
from bbs.models.events import (
    ActualLRPChangedEvent,
    ActualLRPCrashedEvent,
    ActualLRPCreatedEvent,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    ActualLRPRemovedEvent,
    Event,
)
from bbs.wire import sse

logger = logging.getLogger(__name__)

BUFFER_BYTES: Final = 2 << 20
"""Maximum bytes of unread records when a commit is published. All subscribers share the records."""


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


class Subscription:
    """The events of one subscriber, in order, until it is ended or the hub closes. name: for the log."""

    def __init__(self, stream: Stream, cell_id: str, name: str) -> None:
        self.stream = stream
        self.name = name
        self._cell_id = cell_id
        self._notices: deque[Notice] = deque()
        self._bytes = 0
        self._ended = False
        self._arrived = asyncio.Event()

    @property
    def exhausted(self) -> bool:
        """Whether the subscription has ended and all its events are taken."""
        return self._ended and not self._notices

    @property
    def waiting_bytes(self) -> int:
        """Size of the records that have not been taken."""
        return self._bytes

    def offer(self, notice: Notice) -> None:
        """Buffer an event if it passes the cell filter."""
        if self._ended or (self._cell_id and not concerns(notice.event, self._cell_id)):
            return
        self._notices.append(notice)
        self._bytes += len(notice.record)
        self._arrived.set()

    def end(self) -> None:
        """End the subscription after the buffered events."""
        self._ended = True
        self._arrived.set()

    def drop(self) -> None:
        """End the subscription at once and discard the buffer."""
        self._notices.clear()
        self._bytes = 0
        self.end()

    async def next(self, timeout_s: float) -> Event | None:
        """The next event; None after ``timeout_s`` seconds without one, or at the end."""
        notice = await self.next_notice(timeout_s)
        return None if notice is None else notice.event

    async def next_notice(self, timeout_s: float) -> Notice | None:
        """Like ``next``, with the encoded record of the event."""
        if not self._notices and not self._ended:
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        return next(iter(self.take(1)), None)

    def take(self, count: int) -> list[Notice]:
        """Up to ``count`` events that wait, in order."""
        taken = [self._notices.popleft() for _ in range(min(count, len(self._notices)))]
        self._bytes -= sum(len(notice.record) for notice in taken)
        return taken


class Hub:
    """All subscribers."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @contextmanager
    def subscribe(
        self, stream: Stream, cell_id: str = "", name: str = "this process"
    ) -> Iterator[Subscription]:
        """Subscribe while the context lasts. cell_id: only events of that cell; empty for all."""
        subscription = Subscription(stream, cell_id, name)
        if self._closed:
            subscription.end()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, notices: Sequence[Notice]) -> None:
        """Pass each event of a commit to the subscribers of its streams."""
        for subscription in tuple(self._subscriptions):
            if subscription.waiting_bytes > BUFFER_BYTES:
                self._drop(subscription)
        for notice in notices:
            for subscription in self._subscriptions:
                if subscription.stream in notice.streams:
                    subscription.offer(notice)

    def _drop(self, subscription: Subscription) -> None:
        logger.info(
            "dropping-slow-subscriber",
            extra={
                "data": {
                    "stream": subscription.stream.name,
                    "subscriber": subscription.name,
                    "waiting-bytes": subscription.waiting_bytes,
                }
            },
        )
        self._subscriptions.discard(subscription)
        subscription.drop()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.end()


def concerns(event: Event, cell_id: str) -> bool:
    """Whether an event passes the filter for a cell. Events that are not about an instance always pass."""
    match event:
        case ActualLRPInstanceCreatedEvent() | ActualLRPInstanceRemovedEvent():
            return _on_cell(event.actual_lrp, cell_id)
        case ActualLRPInstanceChangedEvent() | ActualLRPCrashedEvent():
            return event.actual_lrp_instance_key.cell_id == cell_id
        case ActualLRPCreatedEvent() | ActualLRPRemovedEvent():
            return _pair_on_cell(event.actual_lrp_group, cell_id)
        case ActualLRPChangedEvent():
            return _pair_on_cell(event.before, cell_id) or _pair_on_cell(event.after, cell_id)
        case _:
            return True


def _on_cell(row: ActualLRP | None, cell_id: str) -> bool:
    return row is not None and row.actual_lrp_instance_key.cell_id == cell_id


def _pair_on_cell(pair: ActualLRPGroup | None, cell_id: str) -> bool:
    return pair is not None and _on_cell(resolved(pair), cell_id)
