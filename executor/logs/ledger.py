"""How much each container has logged, for whoever reports it."""

from __future__ import annotations

import logging
from weakref import WeakValueDictionary

from executor.logs.streamer import LogStreamer
from executor.telemetry.meter import Meter

logger = logging.getLogger(__name__)


class LogLedger:
    """Knows the streamers of a cell's containers for as long as these have them."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._streamers: WeakValueDictionary[str, LogStreamer] = WeakValueDictionary()

    def enter(self, guid: str, streamer: LogStreamer) -> None:
        """``streamer`` is the log of the container ``guid``."""
        self._streamers[guid] = streamer

    def accepted_bytes(self, guid: str) -> int:
        """What the limits let pass so far; 0 for a container without a log."""
        streamer = self._streamers.get(guid)
        return streamer.limiter.accepted_bytes if streamer is not None else 0

    def limit_exceeded(self) -> None:
        """A container's log was told that it exceeds its limit."""
        self._meter.count("AppInstanceExceededLogRateLimitCount")

    def dropped(self, guid: str, lines: int, size: int) -> None:
        """A limit has cost a container these lines and bytes."""
        self._meter.count("AppInstanceDroppedLogLines", lines)
        self._meter.count("AppInstanceDroppedLogBytes", size)
        data = {"guid": guid, "lines": lines, "bytes": size}
        logger.info("log-rate-limit.dropped", extra={"data": data})
