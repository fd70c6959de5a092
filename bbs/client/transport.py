"""One request to a BBS: what goes out, how the answer is understood, when it is tried again.

Nothing here knows a particular call; :mod:`bbs.client.calls` does. Who carries the requests:
:mod:`bbs.client.http` for those who stay, :mod:`bbs.client.oneshot` for those who ask once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

from google.protobuf.message import DecodeError, Message
from tenacity import RetryCallState, retry_if_exception

from bbs.backoff import Backoff, Sleep
from bbs.models.errors import BBSError, ErrorType
from bbs.wire.mapping import encode, error_to_model
from bbs.wire.proto.error_pb2 import Error
from bbs.wire.routes import MEDIA_TYPE, TRACE_HEADER, Route

logger = logging.getLogger(__name__)

ROUTER_ERROR_HEADER = "X-Cf-Routererror"

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

ANSWER_BYTES: Final = 512 << 20
"""Of one answer; a list of a million instances has less."""

UNCOMPRESSED: Final = {"Accept-Encoding": "identity"}
"""Header of requests whose answers are bounded as they are sent."""

TRANSIENT = frozenset({ErrorType.UnknownError, ErrorType.Deadlock})
"""Errors of a BBS that the same request may not meet again: its database is full, away or in conflict."""


class UnansweredError(BBSError):
    """No answer of a BBS was had: the way to it failed, or something else answered."""


class _Transient(BBSError):
    """An error in a response that may pass, and the response."""

    def __init__(self, error: BBSError, answer: bytes) -> None:
        super().__init__(error.type, error.message)
        self.answer = answer


class EndpointNotFoundError(UnansweredError):
    """Status 404: the BBS does not know the path, an older one perhaps does not know it yet."""


class OversizedAnswerError(UnansweredError):
    """An answer was larger than the policy allows; the same request would have it again."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a client is; times in seconds. Attempts and times are those of the Go client.

    attempts: per call, the first included. pause_s: the longest pause after the first one, see
    :class:`bbs.backoff.Backoff`.
    request_timeout_s: of one attempt, 0 for as long as it takes. dial_timeout_s: of its connection.
    reconnect_pause_s, longest_reconnect_pause_s: the longest first and later pauses between attempts to
    open an event stream. reconnect_attempts: how often a connection for a stream that cannot be made at all
    is tried again.
    answer_bytes: of one answer at most. sleep: how to wait, for tests.
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
    """What came back over HTTP. media_type: without parameters."""

    status: int
    media_type: str
    router_error: str
    body: bytes


def interpret(answer: Answer, response: type[ResponseT]) -> ResponseT:
    """The response message in an answer; the rules apply in this order.

    A body of the right media type counts whatever the status. Raises :class:`UnansweredError` where
    there is none: ``RouterError``, ``InvalidResponse`` or ``InvalidProtobufMessage``.
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
    """The way to one BBS. How a single request gets there is up to the subclass.

    Use as an async context manager: connections live in it.
    """

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None, policy: Policy) -> None:
        """url: scheme, host and port. ssl_context: for https; without one, the system's CAs are trusted."""
        self.url = url.rstrip("/")
        self.policy = policy
        self.ssl_context = ssl_context

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One attempt, within the policy's times; redirects are answers.

        Raises :class:`UnansweredError`, also when the times are over.
        """

    async def call(
        self,
        route: Route[RequestT, ResponseT],
        request: RequestT,
        trace_id: str = "",
        *,
        repeatable: bool = True,
    ) -> ResponseT:
        """Response of a call, with its ``error`` field.

        A call without an answer, or with an error that may pass, is made again, unless it is not
        ``repeatable``: then a second one after a lost answer would do harm. Raises
        :class:`UnansweredError` when the last attempt had no answer.
        """
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
        error = state.outcome.exception() if state.outcome is not None else None
        logger.info(
            "bbs-request-failed-retrying",
            extra={
                "data": {"url": self.url + route.path, "attempt": state.attempt_number, "error": str(error)}
            },
        )


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later. A path that the BBS does not know stays unknown."""
    if isinstance(error, EndpointNotFoundError | OversizedAnswerError):
        return False
    return isinstance(error, UnansweredError) or (isinstance(error, BBSError) and error.type in TRANSIENT)


def error_in(response: Message) -> BBSError | None:
    """The error in field ``error`` of a response, if it is set."""
    for _, value in response.ListFields()[:1]:  # in the order of numbers, and an error has number 1
        if isinstance(value, Error):
            return error_to_model(value)
    return None


def no_answer_in_time(url: str, policy: Policy) -> UnansweredError:
    """For a request that took longer than the policy allows."""
    return UnansweredError(ErrorType.Timeout, f"{url}: no answer within {policy.request_timeout_s:g} s")


async def bounded(url: str, read: Callable[[], Awaitable[bytes]], most: int) -> bytes:
    """All pieces of an answer, each by a call of ``read``. Raises OversizedAnswerError."""
    body = bytearray()
    while piece := await read():
        body += piece
        if len(body) > most:
            raise OversizedAnswerError(
                ErrorType.InvalidResponse, f"{url}: the answer is larger than {most} bytes"
            )
    return bytes(body)


def connection_failed(url: str, error: Exception) -> UnansweredError:
    """For a connection that could not be made, or broke."""
    text = str(error) or "the connection was closed"
    return UnansweredError(ErrorType.InvalidResponse, f"{url}: {type(error).__name__}: {text}")
