"""Loggregator ingress of a control plane: puts the lines that cells send on the log board.

It takes batches of envelopes, like a loggregator agent, from clients with a certificate of the same CA. Its
own certificate names ``metron``. Metrics are dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from bbs.client.identity import IdentityFiles
from bbs.embedded.locket.server import locket_credentials
from bbs.serving.address import Address, ListenError, listening
from bbs.serving.connections import HEAD_TIMEOUT_S, connection_limit
from executor.logs.api import LogLine, LogSink, Stream
from executor.logs.loggregator import BATCH_SENDER
from executor.logs.proto import loggregator_pb2 as pb

SOURCE_TYPE = "source_type"
"""Tag with the log source of a line."""
MAX_BATCH_BYTES = 16 << 20
"""More than a hundred lines of the longest kind."""
STOP_GRACE_S = 1.0


def line_of(envelope: pb.Envelope) -> LogLine | None:
    """The log line of an envelope; None for a metric."""
    if not envelope.HasField("log"):
        return None
    return LogLine(
        payload=envelope.log.payload,
        stream=Stream.ERR if envelope.log.type == pb.Log.ERR else Stream.OUT,
        source_id=envelope.source_id,
        instance_id=envelope.instance_id,
        source_type=envelope.tags.get(SOURCE_TYPE, ""),
        time_ns=envelope.timestamp,
    )


@asynccontextmanager
async def ingress(address: Address, identity: IdentityFiles, sink: LogSink) -> AsyncIterator[Address]:
    """Take batches for the sink while the context lasts; yields the bound address.

    Raises ListenError, OSError, TLSConfigurationError.
    """

    async def take(
        batches: AsyncIterator[pb.EnvelopeBatch], _: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.BatchSenderResponse:
        async for batch in batches:
            for line in filter(None, map(line_of, batch.batch)):
                sink.emit(line)
        return pb.BatchSenderResponse()

    service, method = BATCH_SENDER[1:].split("/")
    handler = grpc.stream_unary_rpc_method_handler(
        take,
        request_deserializer=pb.EnvelopeBatch.FromString,
        response_serializer=pb.BatchSenderResponse.SerializeToString,
    )
    options = (
        ("grpc.max_receive_message_length", MAX_BATCH_BYTES),
        ("grpc.max_allowed_incoming_connections", connection_limit()),
        ("grpc.server_handshake_timeout_ms", int(1000 * HEAD_TIMEOUT_S)),
    )
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    if address.port:
        with listening(address, "app logs of cells"):  # gRPC's own errors are unclear
            pass
    try:
        port = server.add_secure_port(str(address), locket_credentials(identity))
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {address} for app logs of cells: {error}") from error
    await server.start()
    try:
        yield Address(address.host, port)
    finally:
        await server.stop(STOP_GRACE_S)
