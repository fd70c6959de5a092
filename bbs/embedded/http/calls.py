"""Shared code of the handlers: their arguments, error responses, and the HTTP handler of a route."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from aiohttp import web
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from bbs.embedded.calls.dependencies import Dependencies
from bbs.embedded.controllers.desired_lrps import DesiredController
from bbs.embedded.controllers.evacuation import EvacuationController
from bbs.embedded.controllers.lrps import LRPController
from bbs.embedded.controllers.tasks import TaskController
from bbs.embedded.store.database import StoreError
from bbs.models.errors import BBSError, ErrorType
from bbs.models.validation import check
from bbs.serving.bodies import whole_body
from bbs.wire.mapping import decode, encode, error_to_wire, to_model
from bbs.wire.routes import MEDIA_TYPE, Route, trace_id

logger = logging.getLogger(__name__)

M = TypeVar("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Controllers:
    """The controllers that handlers call."""

    deps: Dependencies
    lrps: LRPController
    desired: DesiredController
    evacuation: EvacuationController
    tasks: TaskController


Handler: TypeAlias = Callable[[Controllers, Any, str], Awaitable[Message | bytes]]
"""Maps the controllers, the request message and its trace id to the response message or its encoding.

A :class:`BBSError` becomes a response with only the error.
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A route and its handler. keep_on_error: set ``keep_container`` in error responses."""

    route: Route[Any, Any]
    handler: Handler
    keep_on_error: bool = False


def serve(controllers: Controllers, served: Served) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The HTTP handler of a route. Application errors are sent with status 200, as clients expect."""
    route = served.route

    def refused(error: BBSError) -> Message:
        response: Message = route.response(error=error_to_wire(error))
        if served.keep_on_error:
            response.MergeFrom(route.response(keep_container=True))
        return response

    async def answer(request: web.Request) -> web.Response:
        trace = trace_id(request.headers)
        try:
            async with whole_body(request) as body:
                # Like the Go server, ignore the body of calls without a request message.
                message = Empty() if route.request is Empty else decode(route.request, body)
                response: Message | bytes = await served.handler(controllers, message, trace)
        except BBSError as error:
            logger.debug("request-failed", extra={"data": {"path": route.path, "error": repr(error)}})
            response = refused(error)
        except StoreError as error:
            logger.error("request-failed", extra={"data": {"path": route.path, "error": str(error)}})
            response = refused(BBSError(ErrorType.UnknownError, str(error)))
        except (ConnectionError, web.HTTPException):
            raise  # client disconnected, or body too large
        except Exception:  # the edge of the server: one call fails
            logger.exception("request-failed", extra={"data": {"path": route.path}})
            response = refused(BBSError(ErrorType.UnknownError))
        encoded = response if isinstance(response, bytes) else encode(response)
        return web.Response(body=encoded, headers={"Content-Type": MEDIA_TYPE})

    return answer


def checked(value: M | None, errors: Sequence[str]) -> M:
    """The value after its validation. Raises InvalidRequest with all errors, or if the value is missing."""
    check(errors)
    if value is None:
        raise BBSError(ErrorType.InvalidRequest)
    return value


def optional(message: Message, field: str, model: type[M]) -> M | None:
    """A sub-message as its model, or None if it is not set."""
    return to_model(getattr(message, field), model) if message.HasField(field) else None


def text(value: bytes) -> str:
    """Decode text that is sent as bytes because an app process wrote it."""
    return value.decode("utf-8", "replace")
