"""Logger for aiohttp's request handling: tracebacks only for our own errors, not for malformed requests."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

SHOWN: Final = 200
"""Maximum characters of an error."""


class BadRequests(logging.Filter):
    """Reduces errors that clients cause, which aiohttp logs with a traceback, to one line at debug level."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        record.msg, record.args, record.exc_info = "bad-request", (), None
        record.data = {"error": " ".join(str(error).split())[:SHOWN]}
        return logger.isEnabledFor(logging.DEBUG)


logger: Final = logging.getLogger(__name__)
logger.addFilter(BadRequests())
