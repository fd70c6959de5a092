"""Metrics of the rep: requests per type, and the interface for its members' gauges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from common.metrics.instruments import Instruments
from common.tasks import running
from rep.families import (
    AUCTIONED,
    REQUEST_DURATION,
    REQUEST_TYPES,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
    REQUESTS_STARTED,
)


class MetricsSink(Protocol):
    """Takes component metrics. Must neither block nor raise."""

    def gauge(self, name: str, value: float, unit: str, tags: Mapping[str, str] | None = None) -> None: ...


class NoMetrics:
    """A sink that drops all metrics."""

    def gauge(self, name: str, value: float, unit: str, tags: Mapping[str, str] | None = None) -> None:
        """Dropped."""


@dataclass(slots=True)
class RequestCounts:
    """Counters of one request type since the start; ``latency_max_ns`` is since the last report."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    in_flight: int = 0
    cancelled: int = 0
    latency_max_ns: int = 0


class RequestFailed(Exception):
    """Raised inside :meth:`RequestMetrics.track` to count a request as failed; it is not propagated."""


class RequestMetrics:
    """Counters per request type, and the loop that reports them."""

    def __init__(self, instruments: Instruments | None = None) -> None:
        self._instruments = instruments or Instruments()
        self.counts = {kind: RequestCounts() for kind in REQUEST_TYPES}

    @contextmanager
    def track(self, kind: str) -> Iterator[None]:
        """Count the block as one request."""
        counts = self.counts[kind]
        counts.started += 1
        counts.in_flight += 1
        began = time.monotonic_ns()
        try:
            yield
        except asyncio.CancelledError:
            counts.cancelled += 1
            raise
        except RequestFailed:
            counts.failed += 1
        except BaseException:
            counts.failed += 1
            raise
        else:
            counts.succeeded += 1
        finally:
            counts.in_flight -= 1
            latency_ns = time.monotonic_ns() - began
            counts.latency_max_ns = max(counts.latency_max_ns, latency_ns)
            self._instruments.observe(REQUEST_DURATION, latency_ns / 1e9, kind)

    def count_auctioned(self, kind: str, offered: int, refused: int) -> None:
        """Count the work of one auction. kind: ``lrp`` or ``task``."""
        self._instruments.count(AUCTIONED, kind, "accepted", by=offered - refused)
        self._instruments.count(AUCTIONED, kind, "refused", by=refused)

    def show(self, instruments: Instruments) -> None:
        """Set the totals and the requests in flight, for Prometheus."""
        for kind, counts in self.counts.items():
            instruments.set(REQUESTS_STARTED, counts.started, kind)
            instruments.set(REQUESTS_IN_FLIGHT, counts.in_flight, kind)
            instruments.set(REQUESTS, counts.succeeded, kind, "succeeded")
            instruments.set(REQUESTS, counts.failed, kind, "failed")
            instruments.set(REQUESTS, counts.cancelled, kind, "cancelled")

    def report(self, sink: MetricsSink) -> None:
        """Send all counters to the sink and reset the maximum latency."""
        for kind, counts in self.counts.items():
            tags = {"request-type": kind}
            sink.gauge("RequestsStarted", counts.started, "Metric", tags)
            sink.gauge("RequestsSucceeded", counts.succeeded, "Metric", tags)
            sink.gauge("RequestsFailed", counts.failed, "Metric", tags)
            sink.gauge("RequestsInFlight", counts.in_flight, "Metric", tags)
            sink.gauge("RequestsCancelled", counts.cancelled, "Metric", tags)
            sink.gauge("RequestLatencyMax", counts.latency_max_ns, "nanos", tags)
            counts.latency_max_ns = 0

    @asynccontextmanager
    async def reporting(self, sink: MetricsSink, interval_s: float) -> AsyncIterator[None]:
        """Report every ``interval_s`` while inside."""

        async def loop() -> None:
            while True:
                await asyncio.sleep(interval_s)
                self.report(sink)

        async with running(loop(), "request metrics notifier"):
            yield
