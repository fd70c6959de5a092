"""Event streams at ``/v1/events``: the BBS's group events as plain JSON over SSE."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from bbs.client.api import BBSClient
from bbs.embedded.decisions.events import resolved
from bbs.models.actual_lrp import ActualLRP, ActualLRPGroup, Presence
from bbs.models.codec import compact
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError
from bbs.models.events import (
    EVENT_NAMES,
    ActualLRPChangedEvent,
    ActualLRPCrashedEvent,
    ActualLRPCreatedEvent,
    ActualLRPRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
)
from bbs.models.receptor import write_actual_lrp, write_desired_lrp
from bbs.serving.events import SlowReader, send
from bbs.wire.sse import CONTENT_TYPE

logger = logging.getLogger(__name__)

HEADERS: Final = {
    "Content-Type": CONTENT_TYPE,
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Connection": "keep-alive",
}


class UnknownEvent(Exception):
    """An event without a name in this API; it ends the stream."""


class EventStreams:
    """Handler of event streams; ``close`` ends open streams cleanly."""

    def __init__(self, bbs: BBSClient) -> None:
        self._bbs = bbs
        self._open: set[asyncio.Timeout] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/events", self.stream, allow_head=False)]

    async def close(self, _: web.Application) -> None:
        """Signal handler of the application's shutdown."""
        now = asyncio.get_running_loop().time()
        for scope in self._open:
            scope.reschedule(now)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        async with self._bbs.lrp_group_events() as events:
            response = web.StreamResponse(headers=HEADERS)
            response.enable_chunked_encoding()
            await response.prepare(request)
            try:
                async with self._until_closed():
                    await _send_all(events, request, response)
            except BBSError as error:
                logger.error("event-stream-lost", extra={"data": {"error": repr(error)}})
            except (ConnectionError, SlowReader):
                return response
            await response.write_eof()
        return response

    @asynccontextmanager
    async def _until_closed(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(None) as scope:
                self._open.add(scope)
                try:
                    yield
                finally:
                    self._open.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise


async def _send_all(events: AsyncIterator[Event], request: web.Request, response: web.StreamResponse) -> None:
    position = 0
    async for event in events:
        if isinstance(event, ActualLRPCrashedEvent):
            continue
        try:
            name, data = to_receptor(event)
        except UnknownEvent:
            return
        record = f"id: {position}\nevent: {name}\ndata: {compact(data)}\n\n".encode("utf-8", "replace")
        await send(request, response, record)
        position += 1


def to_receptor(event: Event) -> tuple[str, dict[str, Any]]:
    """Name and payload of an event. Raises UnknownEvent."""
    match event:
        case DesiredLRPCreatedEvent(desired_lrp=lrp) | DesiredLRPRemovedEvent(desired_lrp=lrp):
            data = {"desired_lrp": write_desired_lrp(_present(lrp))}
        case DesiredLRPChangedEvent(before=before, after=after):
            data = {
                "desired_lrp_before": write_desired_lrp(_present(before)),
                "desired_lrp_after": write_desired_lrp(_present(after)),
            }
        case ActualLRPCreatedEvent(actual_lrp_group=group) | ActualLRPRemovedEvent(actual_lrp_group=group):
            data = {"actual_lrp": write_actual_lrp(_member(group))}
        case ActualLRPChangedEvent(before=old, after=new):
            shown = _member(new)
            evacuating = shown.presence == Presence.EVACUATING
            data = {
                "actual_lrp_before": write_actual_lrp(_member(old)) | {"evacuating": evacuating},
                "actual_lrp_after": write_actual_lrp(shown),
            }
        case _:
            raise UnknownEvent(type(event).__name__)
    return EVENT_NAMES[type(event)], data


def _present(lrp: DesiredLRP | None) -> DesiredLRP:
    return lrp or DesiredLRP()


def _member(group: ActualLRPGroup | None) -> ActualLRP:
    return resolved(group or ActualLRPGroup()) or ActualLRP()
