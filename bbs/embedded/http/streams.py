"""The event streams: server-sent events, one per chunk, for as long as the subscriber keeps up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web

from bbs.embedded.hub import BUFFER, Hub, Subscription
from bbs.embedded.notices import Stream
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
from bbs.wire import sse
from bbs.wire.mapping import decode
from bbs.wire.proto import events_pb2

GONE_CHECK_S = 5.0
"""How often an idle stream looks whether its client is still connected; without events nothing else tells."""


@dataclass(frozen=True, slots=True)
class ServedStream:
    """A stream's route, what it carries, and whether in the form for old clients."""

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


class Encoder:
    """Encodes an event once for all streams that send it; most subscribers are close together."""

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[int, bool], tuple[Event, bytes]] = OrderedDict()

    def encode(self, event: Event, *, old: bool) -> bytes:
        """A record without its number. old: in the form for old clients."""
        key = (id(event), old)  # unique: what is remembered is kept alive
        found = self._recent.get(key)
        if found is None:
            found = event, sse.encode_event(old_form(event) if old else event)
            self._recent[key] = found
            if len(self._recent) > BUFFER:
                self._recent.popitem(last=False)
        return found[1]


def serve_stream(
    hub: Hub, encoder: Encoder, served: ServedStream
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The HTTP handler of a stream."""

    async def answer(request: web.Request) -> web.StreamResponse:
        cell_id = ""
        if served.route.filtered:
            try:
                cell_id = decode(events_pb2.EventsByCellId, await request.read()).cell_id
            except BBSError:
                return web.Response(status=500)
        response = web.StreamResponse(headers=HEADERS)
        response.enable_chunked_encoding()
        with hub.subscribe(served.stream, cell_id) as subscription:
            await response.prepare(request)
            await _send(request, response, subscription, lambda event: encoder.encode(event, old=served.old))
        return response

    return answer


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    subscription: Subscription,
    encode: Callable[[Event], bytes],
) -> None:
    number = 0
    while not subscription.over:
        event = await subscription.next(GONE_CHECK_S)
        if request.transport is None or request.transport.is_closing():
            return
        if event is None:
            continue
        try:
            await response.write(sse.number_record(number, encode(event)))
        except ConnectionError:
            return
        number += 1


def old_form(event: Event) -> Event:
    """An event as clients from before image layers know it."""
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
