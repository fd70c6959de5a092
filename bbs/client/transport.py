"""Transport of BBS requests: sending, interpretation of responses, retries.

The calls are in :mod:`bbs.client.api`. The implementations are :mod:`bbs.client.http` for long-running
programs and :mod:`bbs.client.oneshot` for single requests.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from google.protobuf.message import DecodeError, Message
from tenacity import RetryCallState, retry_if_exception

from bbs.backoff import Backoff, Sleep
from bbs.client.families import CALL_DURATION, CALL_RETRIES, CANCELLED, REFUSED, SUCCEEDED, UNANSWERED
from bbs.models.errors import BBSError, ErrorType
from bbs.wire.mapping import encode, error_to_model
from bbs.wire.proto.error_pb2 import Error
from bbs.wire.routes import MEDIA_TYPE, TRACE_HEADER, Route
from common.metrics.instruments import Instruments
from common.reading import TooLong, whole

logger = logging.getLogger(__name__)

ROUTER_ERROR_HEADER = "X-Cf-Routererror"

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

ANSWER_BYTES: Final = 512 << 20
"""Size limit of one response; a list of a million instances is smaller."""

UNCOMPRESSED: Final = {"Accept-Encoding": "identity"}
"""Header that disables compression, so that the size limit applies to the body as sent."""

TRANSIENT = frozenset({ErrorType.UnknownError, ErrorType.Deadlock})
"""BBS errors that a retry may avoid: the database is full, unavailable or in conflict."""


class UnansweredError(BBSError):
    """There was no response of a BBS: the transport failed, or something else answered."""


class _Transient(BBSError):
    """A transient error in a response, with the response."""

    def __init__(self, error: BBSError, answer: bytes) -> None:
        super().__init__(error.type, error.message)
        self.answer = answer


class EndpointNotFoundError(UnansweredError):
    """Status 404: the BBS does not have the path; it may be an older version."""


class OversizedAnswerError(UnansweredError):
    """A response exceeded the size limit of the policy; a retry would exceed it again."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Retries and limits of a client; times in seconds. Attempts and times are those of the Go client.

    attempts: per call, including the first.
    pause_s: the longest pause after the first attempt, see :class:`bbs.backoff.Backoff`.
    request_timeout_s: timeout of one attempt, 0 for none.
    dial_timeout_s: timeout of its connection.
    reconnect_pause_s, longest_reconnect_pause_s: the longest first and later pauses between attempts to open
    an event stream.
    reconnect_attempts: retries of an event stream while no connection can be made.
    answer_bytes: size limit of one response.
    sleep: the sleep function, for tests.
    """

    attempts: int = 3
    pause_s: float = 0.5
    request_timeout_s: float = 10.0
    dial_timeout_s: float = 5.0
    reconnect_pause_s: float = 1.0
    longest_reconnect_pause_s: float = 4.0
    reconnect_attempts: int = 3
    answer_bytes: int = ANSWER_BYTES
    sleep: Sleep = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response. media_type: without parameters."""

    status: int
    media_type: str
    router_error: str
    body: bytes


def interpret(answer: Answer, response: type[ResponseT]) -> ResponseT:
    """The response message in an answer; the rules apply in this order.

    A body with the right media type counts for any status. Raises :class:`UnansweredError` if there is no
    message: ``RouterError``, ``InvalidResponse`` or ``InvalidProtobufMessage``.
    """
    if answer.router_error:
        raise UnansweredError(ErrorType.RouterError, answer.router_error)
    if answer.media_type == MEDIA_TYPE:
        try:
            return response.FromString(answer.body)
        except DecodeError as error:
            raise UnansweredError(
                ErrorType.InvalidProtobufMessage,
                f"{len(answer.body)} bytes that are no {response.__name__}: {error}",
            ) from error
    if answer.status == 404:
        raise EndpointNotFoundError(ErrorType.InvalidResponse, "Invalid Response with status code: 404")
    if answer.status > 299:
        raise UnansweredError(
            ErrorType.InvalidResponse, f"Invalid Response with status code: {answer.status}"
        )
    return response()


class Transport(ABC):
    """Transport to one BBS; subclasses implement a single request.

    Use as an async context manager that owns the connections.
    """

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None, policy: Policy) -> None:
        """url: scheme, host and port. ssl_context: for https; without one, the system's CAs are trusted."""
        self.url = url.rstrip("/")
        self.policy = policy
        self.ssl_context = ssl_context
        self.instruments = Instruments()

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One attempt, within the policy's timeouts; redirects are not followed.

        Raises :class:`UnansweredError`, also on a timeout.
        """

    async def call(
        self,
        route: Route[RequestT, ResponseT],
        request: RequestT,
        trace_id: str = "",
        *,
        repeatable: bool = True,
    ) -> ResponseT:
        """The response of a call, with its ``error`` field.

        A call without a response or with a transient error is retried, unless it is not ``repeatable``: then
        a second request after a lost response would do harm. Raises :class:`UnansweredError` if the last
        attempt had no response.
        """
        begun, outcome = time.monotonic(), UNANSWERED
        try:
            response = await self._answered(route, request, trace_id, repeatable=repeatable)
            outcome = SUCCEEDED if error_in(response) is None else REFUSED
        except asyncio.CancelledError:
            outcome = CANCELLED
            raise
        finally:
            self.instruments.observe(CALL_DURATION, time.monotonic() - begun, route.path, outcome)
        return response

    async def _answered(
        self, route: Route[RequestT, ResponseT], request: RequestT, trace_id: str, *, repeatable: bool
    ) -> ResponseT:
        policy = self.policy
        backoff = Backoff(
            attempts=policy.attempts if repeatable else 1, first_s=policy.pause_s, sleep=policy.sleep
        )
        retrying = backoff.retrying(
            retry_if_exception(may_pass), before_sleep=lambda state: self._log_retry(route, state)
        )
        try:
            return await retrying(self._attempt, route, encode(request), trace_id)
        except _Transient as transient:
            return route.response.FromString(transient.answer)

    async def _attempt(self, route: Route[RequestT, ResponseT], body: bytes, trace_id: str) -> ResponseT:
        headers = {"Content-Type": MEDIA_TYPE, TRACE_HEADER: trace_id}
        response = interpret(await self.post(self.url + route.path, headers, body), route.response)
        error = error_in(response)
        if error is not None and error.type in TRANSIENT:
            raise _Transient(error, encode(response))
        return response

    def _log_retry(self, route: Route[RequestT, ResponseT], state: RetryCallState) -> None:
        self.instruments.count(CALL_RETRIES, route.path)
        error = state.outcome.exception() if state.outcome is not None else None
        logger.info(
            "bbs-request-failed-retrying",
            extra={
                "data": {"url": self.url + route.path, "attempt": state.attempt_number, "error": str(error)}
            },
        )


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
        if (error := error_in(response)) is not None:
            raise error
        return response


def may_pass(error: BaseException) -> bool:
    """Whether a retry may succeed. A missing path or an oversized response is not retried."""
    if isinstance(error, EndpointNotFoundError | OversizedAnswerError):
        return False
    return isinstance(error, UnansweredError) or (isinstance(error, BBSError) and error.type in TRANSIENT)


def error_in(response: Message) -> BBSError | None:
    """The error in field ``error`` of a response, if it is set."""
    for _, value in response.ListFields()[:1]:  # sorted by number; the error has number 1
        if isinstance(value, Error):
            return error_to_model(value)
    return None


def no_answer_in_time(url: str, policy: Policy) -> UnansweredError:
    """The error for a request that exceeded its timeout."""
    return UnansweredError(ErrorType.Timeout, f"{url}: no answer within {policy.request_timeout_s:g} s")


async def bounded(url: str, read: Callable[[], Awaitable[bytes]], most: int) -> bytes:
    """Read a whole response by calls of ``read``. Raises OversizedAnswerError."""
    try:
        return await whole(read, most)
    except TooLong as error:
        raise OversizedAnswerError(ErrorType.InvalidResponse, f"{url}: {error}") from error


def connection_failed(url: str, error: Exception) -> UnansweredError:
    """The error for a connection that could not be made, or broke."""
    text = str(error) or "the connection was closed"
    return UnansweredError(ErrorType.InvalidResponse, f"{url}: {type(error).__name__}: {text}")
