"""The base of the groups of calls: a transport, and the error of a response."""

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
        """Response without an error; raises the :class:`~bbs.models.errors.BBSError` in it otherwise."""
        response = await self._transport.call(route, request, trace_id, repeatable=repeatable)
        raise_for_error(response)
        return response


def raise_for_error(response: Message) -> None:
    """Raise the error in field ``error`` of a response, if it is set."""
    if (error := error_in(response)) is not None:
        raise error
