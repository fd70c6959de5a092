"""Who hears what: subscribers of the three event streams.

Publishing never waits. A subscriber has a buffer; one that lets it overflow is dropped, its stream ends,
and it has to subscribe and list again - the same as what the protocol asks of it after any break.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bbs.embedded.lrp_events import resolved
from bbs.embedded.notices import Notice, Stream
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

logger = logging.getLogger(__name__)

BUFFER = 1024
"""Events a subscriber may lag behind."""


class Subscription:
    """One subscriber's events, in order, until it is dropped or the hub closes."""

    def __init__(self, stream: Stream, cell_id: str) -> None:
        self.stream = stream
        self._cell_id = cell_id
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._ended = False

    @property
    def over(self) -> bool:
        """There was a last event, and it has been taken."""
        return self._ended and self._events.empty()

    def offer(self, event: Event) -> bool:
        """False when the subscriber is too far behind to take it."""
        if self._cell_id and not concerns(event, self._cell_id):
            return True
        if self._events.qsize() >= BUFFER:
            return False
        self._events.put_nowait(event)
        return True

    def end(self) -> None:
        """Let the subscriber have what is buffered, and no more."""
        if not self._ended:
            self._ended = True
            self._events.put_nowait(None)

    async def next(self, patience_s: float) -> Event | None:
        """The next event; None when there was none for so many seconds, or there will be none any more."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._events.get()
        except TimeoutError:
            return None


class Hub:
    """All subscribers."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @contextmanager
    def subscribe(self, stream: Stream, cell_id: str = "") -> Iterator[Subscription]:
        """Subscribed from entering on. cell_id: only what concerns that cell; empty for all."""
        subscription = Subscription(stream, cell_id)
        if self._closed:
            subscription.end()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, notices: Sequence[Notice]) -> None:
        """Give each event to the subscribers of its streams."""
        for notice in notices:
            for subscription in tuple(self._subscriptions):
                if subscription.stream in notice.streams and not subscription.offer(notice.event):
                    logger.info(
                        "dropping-slow-subscriber", extra={"data": {"stream": subscription.stream.name}}
                    )
                    self._subscriptions.discard(subscription)
                    subscription.end()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.end()


def concerns(event: Event, cell_id: str) -> bool:
    """Whether an event passes the filter for a cell. What is not about an instance always does."""
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
