"""Delivery of a log sink: a bounded buffer, and a task that sends batches to a destination.

A destination may be slow or unavailable. No caller waits for it: items that do not fit into the buffer are
dropped, counted exactly, and the counts are logged by instance. A failed batch is retried, so items sent
just before a failure may arrive twice, but are not lost.

Lines of durable processes stay in their spool until the destination has taken them. The next agent process
sends those that this one could not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from common.metrics.instruments import Instruments
from executor.engine.spool import Delivery
from executor.logs.api import LogLine
from executor.logs.buffer import Entry, FairBuffer
from executor.telemetry import families

logger = logging.getLogger(__name__)

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

CAPACITY_BYTES = 32 << 20
"""Default capacity of a shipper's buffer."""

ITEM_OVERHEAD_BYTES = 256
"""Approximate memory overhead per item."""

MAX_BATCH = 10_000
"""Default maximum of items per batch: a batch grows with the backlog, so that a slow destination
catches up.
"""

MAX_BATCH_BYTES = 8 << 20
"""Maximum bytes per batch, in addition to the buffer. Less would be too slow on a busy cell, because each
batch takes several loop iterations.
"""

CLOSE_LIMIT_S = 5.0
"""How long the cell's shutdown waits for a destination to take the rest."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Pause before a retry; doubled each time."""


class Unreachable(Exception):
    """A destination is unavailable. sent: number of items of the batch that were certainly delivered."""

    def __init__(self, reason: object, sent: int = 0) -> None:
        super().__init__(str(reason) or repr(reason))
        self.sent = sent


class Destination(Protocol[T_contra]):
    """Receives batches. Connects when needed, and again after a failure."""

    async def send(self, items: Sequence[T_contra]) -> Collection[int]:
        """Deliver; return the indices of items it refused permanently (too large). Raises Unreachable."""
        ...

    async def close(self) -> None:
        """Close the connection. Must not raise."""
        ...


class Shipper(Generic[T]):
    """Buffer and sender. ``put`` never blocks; buffered items are sent inside :meth:`running`.

    name: in the component's log.
    capacity: bytes.
    max_batch: items per batch.
    flush_interval_s: how long an incomplete batch waits for more.
    """

    def __init__(
        self,
        name: str,
        destination: Destination[T],
        *,
        capacity: int = CAPACITY_BYTES,
        max_batch: int = MAX_BATCH,
        flush_interval_s: float = 0.0,
        close_limit_s: float = CLOSE_LIMIT_S,
    ) -> None:
        self.name = name
        self._destination = destination
        self._buffer: FairBuffer[T] = FairBuffer(capacity)
        self._max_batch = max_batch
        self._flush_interval_s = flush_interval_s
        self._close_limit_s = close_limit_s
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._batch: list[Entry[T]] = []
        self._sending: asyncio.Task[Collection[int]] | None = None
        self._pause_s = 0.0
        self._delivered = 0

    @property
    def dropped(self) -> int:
        """Lines and metrics dropped since the start."""
        return self._buffer.dropped

    @property
    def delivered(self) -> int:
        """Lines and metrics delivered since the start."""
        return self._delivered

    def report(self, instruments: Instruments) -> None:
        """Set the metrics of the sink."""
        sink = self.name.partition("?")[0]
        instruments.set(families.SINK_DELIVERED, self._delivered, sink)
        instruments.set(families.SINK_DROPPED, self._buffer.dropped, sink)
        instruments.set(families.SINK_BUFFERED, self._buffer.held, sink)
        instruments.set(families.SINK_UNREACHABLE, 1 if self._pause_s else 0, sink)

    def put(
        self,
        item: T,
        owner: Hashable,
        size: int,
        lines: int = 1,
        delivery: Delivery | None = None,
        offset: int = 0,
    ) -> None:
        """Buffer an item for the next batch. owner: its instance. lines: number of lines in it.

        delivery, offset: of its last line.
        """
        if delivery is not None:
            delivery.hold()
        self._buffer.add(Entry(item, owner, size + ITEM_OVERHEAD_BYTES, lines, delivery, offset))
        self._filled.set()
        if len(self._buffer) >= self._max_batch:
            self._full.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send batches inside the context; its exit delivers the rest, within the time limit."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(), name=f"log sink {self.name}")
            await asyncio.sleep(0)  # a task cancelled before its first step would deliver nothing
            try:
                yield
            finally:
                task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                await self._something_to_send()
                try:
                    await self._attempt()
                except Unreachable as error:
                    await self._pause(error)
                else:
                    self._reached()
                self._report_drops()
        finally:
            await self._finish()

    async def _something_to_send(self) -> None:
        if self._batch:
            return
        await self._filled.wait()
        if self._flush_interval_s and not self._full.is_set():
            try:
                async with asyncio.timeout(self._flush_interval_s):
                    await self._full.wait()
            except TimeoutError:
                return

    async def _attempt(self) -> None:
        """Deliver one batch, or resume its delivery. Raises Unreachable and keeps the unsent rest."""
        if self._sending is None:
            if not self._batch:
                self._batch = self._buffer.take(self._max_batch, MAX_BATCH_BYTES)
                if not self._buffer:
                    self._filled.clear()
                if len(self._buffer) < self._max_batch:
                    self._full.clear()
            items = [entry.item for entry in self._batch]
            self._sending = asyncio.create_task(self._destination.send(items))
        await asyncio.wait({self._sending})
        sending, self._sending = self._sending, None
        try:
            refused = sending.result()
        except Unreachable as error:
            self._settle(error.sent, ())
            raise
        except Exception as error:  # an error of one sink must not affect the cell or other sinks
            if not self._pause_s:
                logger.error("log-sink.failed", exc_info=error, extra={"data": {"sink": self.name}})
            raise Unreachable(error) from error
        self._settle(len(self._batch), refused)

    def _settle(self, done: int, refused: Collection[int]) -> None:
        """Remove the first ``done`` entries of the batch; those at ``refused`` count as dropped."""
        for index, entry in enumerate(self._batch[:done]):
            if index in refused:
                self._buffer.drop(entry)
            else:
                self._delivered += entry.lines
                if entry.delivery is not None:
                    entry.delivery.taken(self.name, entry.offset)
                    entry.delivery.release()
        del self._batch[:done]

    async def _pause(self, error: Unreachable) -> None:
        if not self._pause_s:
            data = {"sink": self.name, "error": str(error)}
            logger.warning("log-sink.unreachable", extra={"data": data})
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
        self._report_drops()
        await asyncio.sleep(self._pause_s)

    def _reached(self) -> None:
        if self._pause_s:
            logger.info("log-sink.reached", extra={"data": {"sink": self.name}})
            self._pause_s = 0.0

    def _report_drops(self) -> None:
        if drops := self._buffer.take_drops():
            data = {
                "sink": self.name,
                "count": drops.total(),
                "total": self._buffer.dropped,
                "by_instance": {_shown(owner): count for owner, count in drops.items()},
            }
            logger.warning("log-sink.dropped", extra={"data": data})

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(self._close_limit_s):
                while self._batch or self._buffer:
                    await self._attempt()
        except (TimeoutError, Unreachable) as error:
            if self._sending is not None:
                self._sending.cancel()
                (outcome,) = await asyncio.gather(self._sending, return_exceptions=True)
                if isinstance(outcome, Unreachable):
                    self._settle(outcome.sent, ())
            kept = 0
            for entry in self._batch + self._buffer.take(len(self._buffer)):
                if entry.delivery is None:
                    self._buffer.drop(entry)
                else:  # it stays in the spool
                    kept += entry.lines
            data = {"sink": self.name, "error": str(error) or "it takes too long", "kept": kept}
            logger.warning("log-sink.gave-up", extra={"data": data})
        finally:
            self._report_drops()
            await self._destination.close()


Encode = Callable[[Sequence[LogLine]], Iterable[tuple[bytes, int]]]
"""Lines that differ in payload, time and offset only -> pieces to send, each with its number of lines."""


class LineShipper(Shipper[bytes]):
    """A shipper for lines: implements :class:`executor.logs.api.BulkSink`.

    Lines are encoded when they are emitted, so output is never read faster than it is encoded.

    recover: called before the first batch; returns up to which offset the destination has the lines of each
        stream, by the stream's name.
    """

    def __init__(
        self,
        name: str,
        encode: Encode,
        destination: Destination[bytes],
        *,
        capacity: int = CAPACITY_BYTES,
        close_limit_s: float = CLOSE_LIMIT_S,
        recover: Callable[[], Awaitable[Mapping[str, int]]] | None = None,
    ) -> None:
        super().__init__(name, destination, capacity=capacity, close_limit_s=close_limit_s)
        self._encode = encode
        self._recover = recover
        self._written: Mapping[str, int] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See :meth:`Shipper.running`."""
        if self._recover is not None:
            self._written = await self._recover()
        async with super().running():
            yield

    def emit(self, line: LogLine) -> None:
        """Emit one line."""
        self.emit_lines((line,))

    def emit_lines(self, lines: Sequence[LogLine]) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        delivery = lines[0].delivery
        if delivery is not None and not (lines := self._not_written(lines, delivery)):
            return
        owner = line_owner(lines[0])
        sent = 0
        for piece, count in self._encode(lines):
            sent += count
            self.put(piece, owner, len(piece), count, delivery, lines[sent - 1].offset)

    def _not_written(self, lines: Sequence[LogLine], delivery: Delivery) -> Sequence[LogLine]:
        """The lines that the destination did not get before the restart of the agent."""
        until = max(delivery.taken_before(self.name), self._written.get(delivery.name, 0))
        return lines if lines[0].offset > until else [line for line in lines if line.offset > until]


def line_owner(line: LogLine) -> Hashable:
    """The instance of a line."""
    return (line.source_id, line.instance_id)


def each_alone(encode: Callable[[LogLine], bytes]) -> Encode:
    """Encoder for destinations with one message per line."""
    return lambda lines: [(encode(line), 1) for line in lines]


def all_together(encode: Callable[[LogLine], bytes]) -> Encode:
    """Encoder for destinations with a stream of messages."""
    return lambda lines: ((b"".join(map(encode, lines)), len(lines)),)


def _shown(owner: Hashable) -> str:
    return "/".join(map(str, owner)) if isinstance(owner, tuple) else str(owner)
