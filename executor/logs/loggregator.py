"""Log and metrics sink for a loggregator agent: batches of envelopes on a long gRPC stream, mutual TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from executor.logs.api import LogLine
from executor.logs.loggregator_envelopes import Item, batch
from executor.logs.proto import loggregator_pb2 as pb
from executor.logs.shipper import (
    CAPACITY_BYTES,
    CLOSE_LIMIT_S,
    Shipper,
    Unreachable,
    line_owner,
)
from executor.telemetry.api import Metric

BATCH_SENDER = "/loggregator.v2.Ingress/BatchSender"

SERVER_NAME = "metron"
"""Name in the agent's certificate, independent of its address."""

METRIC_BYTES = 1024
"""Approximate memory of a metric."""

_OPTIONS = (("grpc.max_reconnect_backoff_ms", 5_000),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Address of the agent and our identity.

    credentials: called for every connection, so that files may be renewed; None for plain text, in tests.
        Raises OSError if the files cannot be read.
    batch_size: maximum envelopes per batch.
    flush_interval_s: how long an incomplete batch waits for more.
    """

    address: str
    credentials: Callable[[], grpc.ChannelCredentials] | None
    batch_size: int = 100
    flush_interval_s: float = 0.1


def credentials(ca: Path, cert: Path, key: Path) -> Callable[[], grpc.ChannelCredentials]:
    """Mutual TLS from PEM files, which are read now and again for each connection. Raises OSError."""

    def read() -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            root_certificates=ca.read_bytes(),
            private_key=key.read_bytes(),
            certificate_chain=cert.read_bytes(),
        )

    read()
    return read


class LoggregatorStream:
    """Destination of lines and metrics. The stream opens with the first batch, and again after it ends.

    A batch counts as sent once gRPC has taken it; the agent does not acknowledge batches.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._channel: grpc.aio.Channel | None = None
        self._call: grpc.aio.StreamUnaryCall[pb.EnvelopeBatch, pb.BatchSenderResponse] | None = None

    async def send(self, items: Sequence[Item]) -> Collection[int]:
        try:
            call = self._open()
            await call.write(batch(items))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, OSError) as error:
            await self._disconnect()
            raise Unreachable(_reason(error)) from error
        return ()

    async def close(self) -> None:
        """Ends the stream regularly if the agent is connected."""
        call, channel = self._call, self._channel
        self._call = self._channel = None
        if call is not None:
            try:
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                call.cancel()
        if channel is not None:
            await channel.close(grace=1.0)

    def _open(self) -> grpc.aio.StreamUnaryCall[pb.EnvelopeBatch, pb.BatchSenderResponse]:
        if self._channel is None:
            self._channel = self._connect()
        if self._call is None:
            sender = self._channel.stream_unary(
                BATCH_SENDER,
                request_serializer=pb.EnvelopeBatch.SerializeToString,
                response_deserializer=pb.BatchSenderResponse.FromString,
            )
            self._call = sender(None)
        return self._call

    def _connect(self) -> grpc.aio.Channel:
        agent = self._agent
        if agent.credentials is None:
            return grpc.aio.insecure_channel(agent.address, _OPTIONS)
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", SERVER_NAME))
        return grpc.aio.secure_channel(agent.address, agent.credentials(), options)

    async def _disconnect(self) -> None:
        call, channel = self._call, self._channel
        self._call = self._channel = None
        if call is not None:
            call.cancel()
        if channel is not None:
            await channel.close(None)


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or "the stream has ended"


class Loggregator(Shipper[Item]):
    """Implements :class:`executor.logs.api.LogSink` and :class:`executor.telemetry.api.MetricsEmitter`."""

    def __init__(
        self, agent: Agent, *, capacity: int = CAPACITY_BYTES, close_limit_s: float = CLOSE_LIMIT_S
    ) -> None:
        super().__init__(
            "loggregator",
            LoggregatorStream(agent),
            capacity=capacity,
            max_batch=agent.batch_size,
            flush_interval_s=agent.flush_interval_s,
            close_limit_s=close_limit_s,
        )

    def emit(self, line: LogLine) -> None:
        """Send a line of an app."""
        delivery = line.delivery
        if delivery is None or line.offset > delivery.taken_before(self.name):
            self.put(line, line_owner(line), len(line.payload), delivery=delivery, offset=line.offset)

    def emit_metric(self, metric: Metric) -> None:
        """Send a metric of the cell or of an app."""
        labels = metric.labels
        self.put(metric, (labels.source_id, labels.instance_id), METRIC_BYTES)
