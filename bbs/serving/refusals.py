"""Log of refused requests, limited in rate."""

from __future__ import annotations

import logging
import math
import time
from typing import Final

LOGGED_EVERY_S: Final = 10.0
LOGGED_CHARACTERS: Final = 200
"""Logged length of a text that a client chose."""


class RefusalLog:
    """Logs one refusal per interval and counts the others, so that clients cannot fill the log."""

    def __init__(self, logger: logging.Logger, level: int, event: str) -> None:
        self._logger = logger
        self._level = level
        self._event = event
        self._logged_at_s = -math.inf
        self._unlogged = 0

    def add(self, **data: object) -> None:
        """data: of the log line."""
        now_s = time.monotonic()
        if now_s - self._logged_at_s < LOGGED_EVERY_S:
            self._unlogged += 1
            return
        data["refusals-since-last-logged"] = self._unlogged
        self._logger.log(self._level, self._event, extra={"data": data})
        self._logged_at_s, self._unlogged = now_s, 0
