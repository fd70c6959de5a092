"""Answers of the Receptor API: JSON, and errors with status, name and message; values of requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from bbs.models.codec import compact, parse
from bbs.models.errors import BBSError, ErrorType
from bbs.models.invalid import InvalidDocument
from bbs.models.text import well_formed
from bbs.serving.bodies import whole_body
from bbs.wire import routes

logger = logging.getLogger(__name__)

JSON_TYPE: Final = {"Content-Type": "application/json"}

INVALID_JSON: Final = "InvalidJSON"
INVALID_REQUEST: Final = "InvalidRequest"
INVALID_TASK: Final = "InvalidTask"
INVALID_LRP: Final = "InvalidLRP"
INVALID_DOMAIN: Final = "InvalidDomain"
TASK_NOT_FOUND: Final = "TaskNotFound"
DESIRED_LRP_NOT_FOUND: Final = "DesiredLRPNotFound"
ACTUAL_LRP_INDEX_NOT_FOUND: Final = "ActualLRPIndexNotFound"
TASK_GUID_ALREADY_EXISTS: Final = "TaskGuidAlreadyExists"
TASK_NOT_DELETABLE: Final = "TaskNotDeletable"
DESIRED_LRP_ALREADY_EXISTS: Final = "DesiredLRPAlreadyExists"
RESOURCE_CONFLICT: Final = "ResourceConflict"
UNKNOWN_ERROR: Final = "UnknownError"


def json_answer(document: object, status: int = 200) -> web.Response:
    """A response with JSON."""
    return web.Response(status=status, body=compact(document).encode("utf-8", "replace"), headers=JSON_TYPE)


def empty(status: int) -> web.Response:
    """A success response without a body."""
    return web.Response(status=status, headers=JSON_TYPE)


async def document(request: web.Request) -> Any:
    """The parsed body. Raises InvalidDocument with the position."""
    async with whole_body(request) as body:
        return parse(body)


def trace_id(request: web.Request) -> str:
    """The caller's trace id, to pass on to the BBS."""
    return routes.trace_id(request.headers)


def domain_filter(request: web.Request) -> str:
    """The ``?domain=`` of a list request, empty for all."""
    return well_formed(request.query.get("domain", ""))


def in_path(request: web.Request, name: str) -> str:
    """A path parameter, such as a guid."""
    return well_formed(request.match_info[name])


class ReceptorError(Exception):
    """An error response."""

    def __init__(self, status: int, name: str, message: str) -> None:
        self.status = status
        self.name = name
        self.message = message
        super().__init__(f"{status} {name}: {message}")

    def response(self) -> web.Response:
        return json_answer({"name": self.name, "message": self.message}, self.status)


Translation = Mapping[ErrorType, ReceptorError]
"""Receptor errors for the BBS errors of one route; other types become 500 UnknownError."""


def translate(error: BBSError, meaning: Translation) -> ReceptorError:
    """The response for a failed BBS call."""
    return meaning.get(error.type) or ReceptorError(500, UNKNOWN_ERROR, error.message)


def invalid(name: str, error: BBSError) -> ReceptorError:
    """400 with the validation text of the BBS, which names the field."""
    return ReceptorError(400, name, error.message)


@web.middleware
async def error_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Convert errors to JSON; a BBS error that the handler does not translate becomes UnknownError."""
    try:
        return await handler(request)
    except ReceptorError as error:
        return error.response()
    except InvalidDocument as error:
        return ReceptorError(400, INVALID_JSON, str(error)).response()
    except BBSError as error:
        logger.error(
            "bbs-call-failed",
            extra={"data": {"method": request.method, "path": request.path, "error": repr(error)}},
        )
        return translate(error, {}).response()
    except (ConnectionError, web.HTTPException):
        raise  # client disconnected, or the exception is the response
    except Exception:  # the edge of the server: one call fails
        logger.exception("request-failed", extra={"data": {"method": request.method, "path": request.path}})
        return ReceptorError(500, UNKNOWN_ERROR, "the request failed, the log says why").response()
