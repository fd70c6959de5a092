"""Locket client: locks and presences, which live while they are refreshed.

It is separate from the rest of the client because importing gRPC is slow.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

import grpc
import grpc.aio

from bbs.models.locket import Resource, TypeCode
from bbs.wire import locket as wire
from bbs.wire.locket import Method, Request, Response
from bbs.wire.proto import locket_pb2

OPTIONS = (
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's default limit of two minutes is eight times the TTL of a presence.
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

KEEPALIVE_TIME_S, KEEPALIVE_TIMEOUT_S = 10, 22
"""The values of the Go clients."""


class LocketError(Exception):
    """A Locket call failed.

    code: ``ALREADY_EXISTS`` (held by another owner), ``NOT_FOUND``, ``INVALID_ARGUMENT``, or a transport
    error of gRPC: ``UNAVAILABLE``, ``DEADLINE_EXCEEDED``.
    message: text from Locket, for example ``lock-collision``.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code.name}: {message}")


def channel_credentials(ca_file: Path, cert_file: Path, key_file: Path) -> grpc.ChannelCredentials:
    """Mutual TLS credentials. Raises :class:`OSError` for a file that cannot be read."""
    return grpc.ssl_channel_credentials(
        root_certificates=ca_file.read_bytes(),
        private_key=key_file.read_bytes(),
        certificate_chain=cert_file.read_bytes(),
    )


class LocketClient:
    """One channel to Locket. Use as an async context manager.

    timeout_s: deadline of a call in seconds, ``None`` for none.
    wait_for_ready: wait for a connection, within that deadline, instead of failing at once.
    uuid: random text that identifies a call in the server's log; sent if not empty.

    Every call raises :class:`LocketError`.
    """

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials | None,
        *,
        keepalive_time_s: int = KEEPALIVE_TIME_S,
        keepalive_timeout_s: int = KEEPALIVE_TIMEOUT_S,
    ) -> None:
        """address: ``host:port``.
        credentials: see :func:`channel_credentials`; None for plain text.
        keepalive_time_s, keepalive_timeout_s: idle seconds before a keepalive ping, and seconds to wait for
        its answer.
        """
        self.address = address
        self._options = (
            *OPTIONS,
            ("grpc.keepalive_time_ms", keepalive_time_s * 1000),
            ("grpc.keepalive_timeout_ms", keepalive_timeout_s * 1000),
        )
        self._credentials = credentials
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        self._channel = self._dial(self._credentials)
        return self

    async def __aexit__(self, *_: object) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    async def renew(self, credentials: grpc.ChannelCredentials) -> None:
        """Use new credentials from now on. Calls in flight finish on the old connection."""
        former, self._channel = self._open_channel(), self._dial(credentials)
        await former.close(None)

    async def ready(self, timeout_s: float = 10.0) -> None:
        """Wait for a connection; ``DEADLINE_EXCEEDED`` after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._open_channel().channel_ready()
        except TimeoutError as error:
            raise LocketError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no connection to {self.address} within {timeout_s:g} s"
            ) from error

    async def lock(
        self,
        resource: Resource,
        ttl_s: int,
        *,
        uuid: str = "",
        timeout_s: float | None = None,
        wait_for_ready: bool = False,
    ) -> None:
        """Take or refresh a resource; ``ALREADY_EXISTS`` if another owner holds the key. ttl_s: seconds."""
        request = locket_pb2.LockRequest(resource=wire.resource_to_wire(resource), ttl_in_seconds=ttl_s)
        await self._call(wire.LOCK, request, uuid=uuid, timeout_s=timeout_s, wait_for_ready=wait_for_ready)

    async def release(self, resource: Resource, *, timeout_s: float | None = None) -> None:
        """Release a resource; a key without a holder is no error."""
        request = locket_pb2.ReleaseRequest(resource=wire.resource_to_wire(resource))
        await self._call(wire.RELEASE, request, timeout_s=timeout_s)

    async def fetch(self, key: str, *, uuid: str = "", timeout_s: float | None = None) -> Resource:
        """The resource of a key; ``NOT_FOUND`` if there is none."""
        request = locket_pb2.FetchRequest(key=key)
        response = await self._call(wire.FETCH, request, uuid=uuid, timeout_s=timeout_s)
        return wire.resource_to_model(response.resource)

    async def fetch_all(self, type_code: TypeCode, *, timeout_s: float | None = None) -> list[Resource]:
        """All locks or all presences, in any order."""
        request = locket_pb2.FetchAllRequest(type=wire.legacy_type(type_code), type_code=type_code.name)
        response = await self._call(wire.FETCH_ALL, request, timeout_s=timeout_s)
        return [wire.resource_to_model(resource) for resource in response.resources]

    async def _call(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        uuid: str = "",
        timeout_s: float | None = None,
        wait_for_ready: bool = False,
    ) -> Response:
        call = self._open_channel().unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        metadata = ((wire.UUID_METADATA, uuid),) if uuid else ()
        try:
            response: Response = await call(
                request, timeout=timeout_s, metadata=metadata, wait_for_ready=wait_for_ready
            )
        except grpc.RpcError as error:
            raise LocketError(error.code(), error.details() or "") from error
        return response

    def _dial(self, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(self.address, options=self._options)
        return grpc.aio.secure_channel(self.address, credentials, options=self._options)

    def _open_channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise RuntimeError(f"the Locket client of {self.address} is not open: use it in 'async with'")
        return self._channel
