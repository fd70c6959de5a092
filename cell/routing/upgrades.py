"""WebSocket requests: after the app's ``101`` the router passes bytes on, and reads none of them."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Final, TypeAlias, cast

import h11
from aiohttp import web
from aiohttp.http_websocket import WebSocketReader
from multidict import CIMultiDict

from cell.routing.headers import forwarded_response
from cell.routing.responses import AppResponse
from cell.routing.table import Endpoint

PIECE_BYTES: Final = 64 * 1024
RESPONSE_TIMEOUT_S: Final = 60.0
"""Limit for the response to the request."""

WEBSOCKET: Final = "websocket"


class NotReachable(Exception):
    """The instance gave no response; nothing has been sent to the client."""


class _ClientBytes:
    """What aiohttp's server passes after an upgrade: the bytes of the client. Its parser interface."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


def is_upgrade(request: web.BaseRequest) -> bool:
    """Whether the client asks for a WebSocket. Other upgrades are served without them, as HTTP allows."""
    tokens = {token.strip().lower() for token in request.headers.get("Connection", "").split(",")}
    return "upgrade" in tokens and request.headers.get("Upgrade", "").strip().lower() == WEBSOCKET


async def pass_upgrade(
    request: web.BaseRequest,
    endpoint: Endpoint,
    target: str,
    headers: CIMultiDict[str],
    request_id: str,
    connect_timeout_s: float,
) -> web.StreamResponse:
    """Pass the request, its response, and then all bytes in both directions until one side ends.

    headers: of the request, without those of the connection. Raises NotReachable.
    """
    host, _, port = endpoint.address.rpartition(":")
    try:
        async with asyncio.timeout(connect_timeout_s):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=PIECE_BYTES)
    except (OSError, TimeoutError) as error:
        raise NotReachable(getattr(error, "strerror", "") or "no answer in time") from error
    with closing(writer):
        app = h11.Connection(our_role=h11.CLIENT)
        headers["Connection"], headers["Upgrade"] = "Upgrade", WEBSOCKET
        try:
            fields = [(name.encode(), value.encode()) for name, value in headers.items()]
            writer.write(app.send(h11.Request(method="GET", target=target.encode(), headers=fields)) or b"")
            writer.write(app.send(h11.EndOfMessage()) or b"")
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                head = await _head(app, reader)
        except (OSError, TimeoutError, ValueError, h11.ProtocolError) as error:
            raise NotReachable(str(error) or "no response in time") from error
        received = CIMultiDict((name.decode(), value.decode("latin-1")) for name, value in head.headers)
        passed = forwarded_response(received, endpoint, request_id=request_id)
        switched = isinstance(head, h11.InformationalResponse)
        if switched:
            passed["Connection"], passed["Upgrade"] = "Upgrade", received.get("Upgrade", WEBSOCKET)
        response = AppResponse(head.status_code, head.reason.decode("latin-1"), passed)
        response.force_close()
        await response.prepare(request)
        try:
            if switched:
                await _pass_bytes(request, response, app.trailing_data[0], reader, writer)
            else:
                await _pass_body(app, reader, response)
        except (OSError, h11.ProtocolError):  # one side is gone: so is the other, without a regular end
            if request.transport is not None:
                request.transport.abort()
        return response


Head: TypeAlias = h11.Response | h11.InformationalResponse


async def _head(app: h11.Connection, reader: asyncio.StreamReader) -> Head:
    """The response, or ``101``. Raises OSError, h11.ProtocolError."""
    while True:
        event = await _next_event(app, reader)
        if isinstance(event, h11.Response):
            return event
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return event


async def _next_event(app: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
    while True:
        event = app.next_event()
        if isinstance(event, h11.Event):
            return event
        data = await reader.read(PIECE_BYTES)
        if not data and app.their_state is h11.SEND_RESPONSE:
            raise ConnectionResetError("the connection was closed without a response")
        app.receive_data(data)


async def _pass_body(app: h11.Connection, reader: asyncio.StreamReader, response: web.StreamResponse) -> None:
    """The app refused the upgrade with an ordinary response."""
    while isinstance(event := await _next_event(app, reader), h11.Data):
        await response.write(bytes(event.data))
    await response.write_eof()


async def _pass_bytes(
    request: web.BaseRequest,
    response: web.StreamResponse,
    rest: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Pass bytes until one side ends. rest: what the app sent with the head of its response."""
    client = asyncio.StreamReader(limit=PIECE_BYTES)
    if request.transport is None:
        return
    client.set_transport(request.transport)  # which pauses while the app does not read
    # The server calls nothing but feed_data and feed_eof.
    request.protocol.set_parser(cast(WebSocketReader, _ClientBytes(client)))

    async def to_client() -> None:
        piece = rest or await reader.read(PIECE_BYTES)
        while piece:
            await response.write(piece)
            piece = await reader.read(PIECE_BYTES)

    async def to_app() -> None:
        while piece := await client.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()

    directions = [asyncio.ensure_future(each()) for each in (to_client, to_app)]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in directions:
            each.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
