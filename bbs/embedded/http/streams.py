"""Event streams as server-sent events; slow subscribers are disconnected.

Events that wait together are written together: one write for each of 50 subscribers and 50,000 events costs
more than the events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web

from bbs.embedded.events.hub import Hub, Notice, Stream, Subscription
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError
from bbs.models.events import (
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
    TaskChangedEvent,
    TaskCreatedEvent,
    TaskRemovedEvent,
)
from bbs.models.task import Task
from bbs.models.views import desired_lrp_v0, task_v2
from bbs.serving.bodies import whole_body
from bbs.serving.events import SlowReader, send
from bbs.wire import sse
from bbs.wire.mapping import decode
from bbs.wire.proto import events_pb2

GONE_CHECK_S = 5.0
"""Interval at which an idle stream checks whether its client is still connected."""


RECORDS_PER_TURN = 64
"""Most records in one write; the other subscribers have their turn before the next."""


@dataclass(frozen=True, slots=True)
class ServedStream:
    """A stream route and its stream. old: send events in the form for old clients."""

    route: sse.Stream
    stream: Stream
    old: bool = False


STREAMS = (
    ServedStream(sse.LRP_INSTANCE_EVENTS, Stream.INSTANCES),
    ServedStream(sse.LRP_GROUP_EVENTS, Stream.GROUPS),
    ServedStream(sse.TASK_EVENTS, Stream.TASKS),
    ServedStream(sse.LRP_INSTANCE_EVENTS_R0, Stream.INSTANCES, old=True),
    ServedStream(sse.LRP_GROUP_EVENTS_R0, Stream.GROUPS, old=True),
    ServedStream(sse.TASK_EVENTS_R0, Stream.TASKS, old=True),
)

HEADERS = {
    "Content-Type": sse.CONTENT_TYPE,
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Connection": "keep-alive",
}


def serve_stream(hub: Hub, served: ServedStream) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The HTTP handler of a stream."""

    async def answer(request: web.Request) -> web.StreamResponse:
        cell_id = ""
        if served.route.filtered:
            try:
                async with whole_body(request) as body:
                    cell_id = decode(events_pb2.EventsByCellId, body).cell_id
            except BBSError:
                return web.Response(status=500)
        response = web.StreamResponse(headers=HEADERS)
        response.enable_chunked_encoding()
        with hub.subscribe(served.stream, cell_id, name=str(request.remote)) as subscription:
            await response.prepare(request)
            try:
                await _send_all(request, response, subscription, old=served.old)
            except (ConnectionError, SlowReader):
                return response
        return response

    return answer


async def _send_all(
    request: web.Request, response: web.StreamResponse, subscription: Subscription, *, old: bool
) -> None:
    """Send events until the stream ends or the client disconnects. Raises ConnectionError, SlowReader."""
    number = 0
    while not subscription.exhausted:
        notice = await subscription.next_notice(GONE_CHECK_S)
        if request.transport is None or request.transport.is_closing():
            return
        if notice is None:
            continue
        notices = [notice, *subscription.take(RECORDS_PER_TURN - 1)]
        records = (_record(each, old=old) for each in notices)
        numbered = (sse.number_record(number, record) for number, record in enumerate(records, start=number))
        await send(request, response, b"".join(numbered))
        number += len(notices)
        if len(notices) == RECORDS_PER_TURN:
            await asyncio.sleep(0)


def _record(notice: Notice, *, old: bool) -> bytes:
    """A record without its number. old: in the form for old clients."""
    event = old_form(notice.event) if old else notice.event
    return notice.record if event is notice.event else sse.encode_event(event)


def old_form(event: Event) -> Event:
    """The event in the form for clients without image layers."""
    match event:
        case DesiredLRPCreatedEvent() | DesiredLRPRemovedEvent():
            return replace(event, desired_lrp=_v0(event.desired_lrp))
        case DesiredLRPChangedEvent():
            return replace(event, before=_v0(event.before), after=_v0(event.after))
        case TaskCreatedEvent() | TaskRemovedEvent():
            return replace(event, task=_v2(event.task))
        case TaskChangedEvent():
            return replace(event, before=_v2(event.before), after=_v2(event.after))
        case _:
            return event


def _v0(lrp: DesiredLRP | None) -> DesiredLRP | None:
    return None if lrp is None else desired_lrp_v0(lrp)


def _v2(task: Task | None) -> Task | None:
    return None if task is None else task_v2(task)
