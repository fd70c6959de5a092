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
from contextlib import asynccontextmanager, suppress
from typing import Generic, Protocol, TypeVar

from common.metrics.instruments import Instruments
from executor.engine.spool import Delivery
from executor.logs.api import LineBatch, LogLine
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

BATCH_BYTES = 1 << 20
"""Maximum bytes per batch, in addition to the buffer. Less costs more loop iterations. More is no longer in
the processor's cache when it is written, which takes several times as long.
"""

BACKLOG_PART = 4
"""A batch of a large backlog has this part of it: the number of batches then counts more than the cache."""

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
        self._ending = asyncio.Event()
        self._pause_s = 0.0
        self._delivered = 0
        self.keeps_rest = True
        """Whether lines of durable processes stay in their spools if they are not delivered in the end."""

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
            await asyncio.sleep(0)  # a task cancelled before its first step would not close the destination
            try:
                yield
            finally:
                for event in (self._ending, self._filled, self._full):
                    event.set()
                await asyncio.wait({task}, timeout=self._close_limit_s)
                task.cancel()

    async def _run(self) -> None:
        try:
            while await self._something_to_send():
                await self._deliver()
        except Unreachable as error:
            self._give_up(str(error))
        except asyncio.CancelledError:
            self._give_up("it takes too long")
        finally:
            self._pause_s = 0.0
            self._report_drops()
            await self._destination.close()

    async def close_unused(self) -> None:
        """Close the destination of a shipper that does not run."""
        await self._destination.close()

    async def _something_to_send(self) -> bool:
        """Wait for a batch. False in the end, when everything is sent."""
        if not self._batch:
            await self._filled.wait()
            if self._flush_interval_s:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._flush_interval_s):
                        await self._full.wait()
        return bool(self._batch or self._buffer)

    async def _deliver(self) -> None:
        """Deliver one batch. Raises Unreachable in the end, when there is no time for another attempt."""
        if not self._batch:
            self._next_batch()
        try:
            refused = await self._send([entry.item for entry in self._batch])
        except Unreachable as error:
            self._settle(error.sent, ())
            if self._ending.is_set():
                raise
            await self._pause(error)
        else:
            self._settle(len(self._batch), refused)
            self._note_available()
        self._report_drops()

    def _next_batch(self) -> None:
        size_limit = max(BATCH_BYTES, self._buffer.held // BACKLOG_PART)
        self._batch = self._buffer.take(self._max_batch, size_limit)
        if self._ending.is_set():
            return
        if not self._buffer:
            self._filled.clear()
        if len(self._buffer) < self._max_batch:
            self._full.clear()

    async def _send(self, items: Sequence[T]) -> Collection[int]:
        try:
            return await self._destination.send(items)
        except Unreachable:
            raise
        except Exception as error:  # an error of one sink must not affect the cell or other sinks
            if not self._pause_s:
                logger.error("log-sink.failed", exc_info=error, extra={"data": {"sink": self.name}})
            raise Unreachable(error) from error

    def _settle(self, done: int, refused: Collection[int]) -> None:
        """Remove the first ``done`` entries of the batch; those at ``refused`` count as dropped."""
        batch, self._batch = self._batch[:done], self._batch[done:]
        delivered = [entry for index, entry in enumerate(batch) if index not in refused]
        # First the positions: lines that are released may be saved as taken at once.
        last = {entry.delivery.name: entry for entry in delivered if entry.delivery is not None}
        for entry in last.values():
            if entry.delivery is not None:
                entry.delivery.taken(self.name, entry.offset)
        for entry in delivered:
            self._delivered += entry.lines
            if entry.delivery is not None:
                entry.delivery.release()
        for index in refused:
            self._buffer.drop(batch[index])

    async def _pause(self, error: Unreachable) -> None:
        if not self._pause_s:
            data = {"sink": self.name, "error": str(error)}
            logger.warning("log-sink.unreachable", extra={"data": data})
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
        self._report_drops()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self._ending.wait()

    def _note_available(self) -> None:
        if self._pause_s:
            logger.info("log-sink.available", extra={"data": {"sink": self.name}})
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

    def _give_up(self, error: str) -> None:
        """Drop what is not sent and not kept."""
        kept = 0
        for entry in self._batch + self._buffer.take(len(self._buffer)):
            if entry.delivery is not None and self.keeps_rest:
                kept += entry.lines
            else:
                self._buffer.drop(entry)
        self._batch.clear()
        data = {"sink": self.name, "error": error, "kept": kept}
        logger.warning("log-sink.gave-up", extra={"data": data})


Encode = Callable[[LineBatch], Iterable[tuple[bytes, int]]]
"""Lines -> pieces to send, each with its number of lines."""


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

    async def recover(self) -> None:
        """Ask what the destination has, before any line is emitted. :meth:`running` does so, unless done."""
        recover, self._recover = self._recover, None
        if recover is not None:
            self._written = await recover()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See :meth:`Shipper.running`."""
        await self.recover()
        async with super().running():
            yield

    def emit(self, line: LogLine) -> None:
        """Emit one line."""
        self.emit_batch(LineBatch.of(line))

    def emit_batch(self, batch: LineBatch) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        delivery = batch.first.delivery
        left = batch if delivery is None else self._not_written(batch, delivery)
        if left is None:
            return
        owner = line_owner(left.first)
        sent = 0
        for piece, count in self._encode(left):
            sent += count
            offset = left.offsets[sent - 1] if left.offsets else 0
            self.put(piece, owner, len(piece), count, delivery, offset)

    def _not_written(self, batch: LineBatch, delivery: Delivery) -> LineBatch | None:
        """The lines that the destination did not get before the restart of the agent."""
        # An end in the destination may be beyond that of the stream, if a full disk did not take the stream.
        written = min(self._written.get(delivery.name, 0), delivery.resumed_at)
        until = max(delivery.taken_before(self.name), written)
        return batch.after(until) if until else batch


def line_owner(line: LogLine) -> Hashable:
    """The instance of a line."""
    return (line.source_id, line.instance_id)


def each_alone(encode: Callable[[LogLine], bytes]) -> Encode:
    """Encoder for destinations with one message per line."""
    return lambda batch: [(encode(line), 1) for line in batch.lines()]


def all_together(encode: Callable[[LogLine], bytes]) -> Encode:
    """Encoder for destinations with a stream of messages."""
    return lambda batch: ((b"".join(map(encode, batch.lines())), len(batch)),)


def _shown(owner: Hashable) -> str:
    return "/".join(map(str, owner)) if isinstance(owner, tuple) else str(owner)
