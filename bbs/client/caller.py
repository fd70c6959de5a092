"""What the groups of calls share: a transport, and the look at an answer's error."""

from __future__ import annotations

from google.protobuf.message import Message

from bbs.client.transport import RequestT, ResponseT, Transport
from bbs.wire.mapping import error_to_model
from bbs.wire.proto.error_pb2 import Error
from bbs.wire.routes import Route


class Caller:
    """Base of a group of calls."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _ask(self, route: Route[RequestT, ResponseT], request: RequestT, trace_id: str) -> ResponseT:
        """Response without an error; raises the :class:`~bbs.models.errors.BBSError` in it otherwise."""
        response = await self._transport.call(route, request, trace_id)
        raise_for_error(response)
        return response


def raise_for_error(response: Message) -> None:
    """Raise what field ``error`` of a response says, if it is set."""
    for _, value in response.ListFields()[:1]:  # in the order of numbers, and an error has number 1
        if isinstance(value, Error):
            raise error_to_model(value)
