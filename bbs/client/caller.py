"""Base of the call groups: sends a request and raises the error in its response."""

from __future__ import annotations

from google.protobuf.message import Message

from bbs.client.transport import RequestT, ResponseT, Transport, error_in
from bbs.wire.routes import Route


class Caller:
    """Base of a group of calls."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _ask(
        self,
        route: Route[RequestT, ResponseT],
        request: RequestT,
        trace_id: str,
        *,
        repeatable: bool = True,
    ) -> ResponseT:
        """The response, if it has no error; otherwise raises its :class:`~bbs.models.errors.BBSError`."""
        response = await self._transport.call(route, request, trace_id, repeatable=repeatable)
        raise_for_error(response)
        return response


def raise_for_error(response: Message) -> None:
    """Raise the error in field ``error`` of a response, if it is set."""
    if (error := error_in(response)) is not None:
        raise error
