"""Log volume of each container, for metrics."""

from __future__ import annotations

import logging
from weakref import WeakValueDictionary, finalize

from common.metrics.instruments import Instruments
from executor.logs.rate import RateLimiter
from executor.logs.streamer import LogStreamer
from executor.telemetry.families import LOG_BYTES, LOG_LINES
from executor.telemetry.meter import Meter

logger = logging.getLogger(__name__)


class LogLedger:
    """The log streamers of a cell's containers, held by weak references."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._streamers: WeakValueDictionary[str, LogStreamer] = WeakValueDictionary()
        self._counting: set[RateLimiter] = set()
        self._ended_lines = self._ended_bytes = 0

    def enter(self, guid: str, streamer: LogStreamer) -> None:
        """Register ``streamer`` as the log of the container ``guid``."""
        self._streamers[guid] = streamer
        self._counting.add(streamer.limiter)
        finalize(streamer, self._ended, streamer.limiter).atexit = False

    def report(self, instruments: Instruments) -> None:
        """Set the totals of all containers so far."""
        lines = sum(limiter.accepted_lines for limiter in self._counting)
        size = sum(limiter.accepted_bytes for limiter in self._counting)
        instruments.set(LOG_LINES, self._ended_lines + lines)
        instruments.set(LOG_BYTES, self._ended_bytes + size)

    def _ended(self, limiter: RateLimiter) -> None:
        self._counting.discard(limiter)
        self._ended_lines += limiter.accepted_lines
        self._ended_bytes += limiter.accepted_bytes

    def accepted_bytes(self, guid: str) -> int:
        """Bytes that passed the limits so far; 0 for a container without a log."""
        streamer = self._streamers.get(guid)
        return streamer.limiter.accepted_bytes if streamer is not None else 0

    def limit_exceeded(self) -> None:
        """Count an exceeded limit that was reported in a container's log."""
        self._meter.count("AppInstanceExceededLogRateLimitCount")

    def dropped(self, guid: str, lines: int, size: int) -> None:
        """Count the lines and bytes of a container that a limit dropped."""
        self._meter.count("AppInstanceDroppedLogLines", lines)
        self._meter.count("AppInstanceDroppedLogBytes", size)
        data = {"guid": guid, "lines": lines, "bytes": size}
        logger.info("log-rate-limit.dropped", extra={"data": data})
