"""Errors of the Receptor API: status, name, message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from bbs.embedded.receptor.answers import json_answer
from bbs.models.errors import BBSError, ErrorType
from bbs.models.invalid import InvalidDocument

logger = logging.getLogger(__name__)

INVALID_JSON: Final = "InvalidJSON"
INVALID_REQUEST: Final = "InvalidRequest"
INVALID_TASK: Final = "InvalidTask"
INVALID_LRP: Final = "InvalidLRP"
INVALID_DOMAIN: Final = "InvalidDomain"
UNAUTHORIZED: Final = "Unauthorized"
TASK_NOT_FOUND: Final = "TaskNotFound"
DESIRED_LRP_NOT_FOUND: Final = "DesiredLRPNotFound"
ACTUAL_LRP_INDEX_NOT_FOUND: Final = "ActualLRPIndexNotFound"
TASK_GUID_ALREADY_EXISTS: Final = "TaskGuidAlreadyExists"
TASK_NOT_DELETABLE: Final = "TaskNotDeletable"
DESIRED_LRP_ALREADY_EXISTS: Final = "DesiredLRPAlreadyExists"
RESOURCE_CONFLICT: Final = "ResourceConflict"
UNKNOWN_ERROR: Final = "UnknownError"


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
    except Exception:
        logger.exception("request-failed", extra={"data": {"method": request.method, "path": request.path}})
        return ReceptorError(500, UNKNOWN_ERROR, "the request failed, the log says why").response()
