"""Subscriptions to the event streams of a BBS.

The rules are those of the Go clients. A broken stream is reopened transparently. A stream that the server
ends is over. An event that cannot be decoded is skipped and logged. Events during a break are lost, so
consumers subscribe first and then list.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

from bbs.backoff import Backoff
from bbs.client.streaming import HeadTimeout, ProtocolError, StreamingResponse
from bbs.client.transport import EndpointNotFoundError, Transport, UnansweredError
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import Event
from bbs.wire.mapping import encode
from bbs.wire.proto.events_pb2 import EventsByCellId
from bbs.wire.sse import Parser, Record, RecordTooLarge, Stream, decode_record

logger = logging.getLogger(__name__)

SERVER_NOT_READY = frozenset({500, 502, 503, 504})
"""Statuses of a subscription request that are retried without limit."""


class _NotReadyError(UnansweredError):
    """The server is reachable, but not ready."""


class _UnreachableError(UnansweredError):
    """No connection could be made."""


@asynccontextmanager
async def subscribe(
    transport: Transport,
    stream: Stream,
    cell_id: str = "",
    reopened: Callable[[], None] | None = None,
) -> AsyncIterator[AsyncIterator[Event]]:
    """Events of a stream while the context lasts; the iterator ends when the server ends the stream.

    reopened: called when a stream that broke has been opened again.

    Raises :class:`UnansweredError` if the stream cannot be opened: on entering, or from the iterator after a
    break.
    """
    subscription = _Subscription(transport, stream, cell_id, reopened)
    await subscription.connect()
    events = subscription.events()
    try:
        yield events
    finally:
        await events.aclose()
        subscription.close()


class _Subscription:
    def __init__(
        self, transport: Transport, stream: Stream, cell_id: str, reopened: Callable[[], None] | None
    ) -> None:
        self._transport = transport
        self._reopened = reopened
        self._stream = stream
        self._url = transport.url + stream.path
        self._body = encode(EventsByCellId(cell_id=cell_id)) if stream.filtered else b""
        self._response: StreamingResponse | None = None

    async def connect(self) -> None:
        policy = self._transport.policy
        backoff = Backoff(first_s=policy.reconnect_pause_s, most_s=policy.longest_reconnect_pause_s)
        failures = unreachable = 0
        while True:
            try:
                self._response = await self._open()
                return
            except (_NotReadyError, _UnreachableError) as error:
                unreachable = unreachable + 1 if isinstance(error, _UnreachableError) else 0
                if unreachable > policy.reconnect_attempts:
                    raise
                self._log("event-stream-connect-failed-retrying", error)
            failures += 1
            await policy.sleep(backoff.pause_s(failures))

    async def events(self) -> AsyncGenerator[Event, None]:
        policy = self._transport.policy
        backoff = Backoff(first_s=policy.reconnect_pause_s, most_s=policy.longest_reconnect_pause_s)
        fruitless = 0  # consecutive streams that broke without an event
        while self._response is not None:
            parser = Parser()
            fruitless += 1
            try:
                while data := await self._response.read():
                    for event in self._decoded(parser.feed(data)):
                        fruitless = 0
                        yield event
                return
            except (ProtocolError, OSError, RecordTooLarge) as error:
                self._log("event-stream-broken-reconnecting", error)
            finally:
                self.close()
            if fruitless > 1:
                await policy.sleep(backoff.pause_s(fruitless - 1))
            await self.connect()
            if self._reopened is not None:
                self._reopened()

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    async def _open(self) -> StreamingResponse:
        policy = self._transport.policy
        try:
            response = await StreamingResponse.open(
                self._stream.method,
                self._url,
                self._body,
                ssl_context=self._transport.ssl_context,
                dial_timeout_s=policy.dial_timeout_s,
                head_timeout_s=policy.request_timeout_s or None,
            )
        except HeadTimeout as error:
            raise _NotReadyError(ErrorType.Timeout, f"{self._url}: {error}") from error
        except (ProtocolError, OSError) as error:
            raise _UnreachableError(
                ErrorType.InvalidResponse, f"{self._url}: {type(error).__name__}: {error}"
            ) from error
        if response.status == 200:
            return response
        response.close()
        message = f"{self._url}: Invalid Response with status code: {response.status}"
        if response.status in SERVER_NOT_READY:
            raise _NotReadyError(ErrorType.InvalidResponse, message)
        if response.status == 404:
            raise EndpointNotFoundError(ErrorType.InvalidResponse, message)
        raise UnansweredError(ErrorType.InvalidResponse, message)

    def _decoded(self, records: Iterable[Record]) -> Iterator[Event]:
        for record in records:
            try:
                event = decode_record(record)
            except BBSError as error:
                self._log("event-skipped", error)
            else:
                yield event

    def _log(self, message: str, error: Exception) -> None:
        logger.warning(
            message, extra={"data": {"url": self._url, "error": f"{type(error).__name__}: {error}"}}
        )
