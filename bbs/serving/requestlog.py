"""The log of aiohttp's request handling: errors of ours with a trace, bytes that are no request without."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

SHOWN: Final = 200
"""Characters of an error."""


class BadRequests(logging.Filter):
    """What aiohttp logs as an error with a trace, though a client caused it, is one line at debug level."""

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
