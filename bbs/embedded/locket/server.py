"""Locket: locks and presences over gRPC, of the control plane."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from bbs.client.identity import IdentityFiles
from bbs.client.tls import TLSConfigurationError, server_context
from bbs.embedded.store.database import Store, StoreError
from bbs.embedded.store.resources import Collision, Full, Registry
from bbs.models.locket import Resource, TypeCode
from bbs.serving import connections
from bbs.wire import locket as wire
from bbs.wire.proto import locket_pb2 as pb

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

LONGEST_TTL_S = 2**31
"""Longer TTLs are reduced to this, so that deadlines fit into the store."""

STOP_GRACE_S = 1.0
"""Time for calls in flight when the server stops."""

OPTIONS = (
    # Clients ping after 10 s of silence, also between calls; by default gRPC servers disconnect them.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Two servers on one port would each get half of the refreshes.
    ("grpc.so_reuseport", 0),
)

VALID_TYPES = frozenset((TypeCode.LOCK, TypeCode.PRESENCE))


class Locket:
    """The Locket calls. The order of their checks decides which error the caller gets.

    held: keys of locks that the server's owner holds while the server runs.
    """

    def __init__(self, store: Store, registry: Registry, held: Iterable[str] = ()) -> None:
        self._store = store
        self._registry = registry
        owner = str(uuid.uuid4())
        self._held = {key: Resource(key=key, owner=owner, type_code=TypeCode.LOCK) for key in held}

    async def lock(self, q: pb.LockRequest, context: Context) -> pb.LockResponse:
        if int(q.resource.type_code) not in VALID_TYPES:
            await _invalid_type(context)
        if q.ttl_in_seconds <= 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid-ttl")
        if not q.resource.owner:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid-owner")
        resource = wire.resource_to_model(q.resource)
        ttl_s = min(q.ttl_in_seconds, LONGEST_TTL_S)
        try:
            self._check_held(resource.key)
            if self._registry.lock(resource, ttl_s):
                await self._registry.save(self._store)
        except Collision:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "lock-collision")
        except Full as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        return pb.LockResponse()

    async def fetch(self, q: pb.FetchRequest, context: Context) -> pb.FetchResponse:
        found = self._held.get(q.key) or self._registry.fetch(q.key)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "resource-not-found")
        return pb.FetchResponse(resource=wire.resource_to_wire(found))

    async def release(self, q: pb.ReleaseRequest, context: Context) -> pb.ReleaseResponse:
        try:
            self._check_held(q.resource.key)
            self._registry.release(q.resource.key, q.resource.owner)
            await self._registry.save(self._store)
        except Collision:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "lock-collision")
        return pb.ReleaseResponse()

    async def fetch_all(self, q: pb.FetchAllRequest, context: Context) -> pb.FetchAllResponse:
        if int(q.type_code) not in VALID_TYPES:
            await _invalid_type(context)
        type_code = TypeCode(q.type_code)
        found = [each for each in self._held.values() if each.type_code == type_code]
        found += self._registry.fetch_all(type_code)
        return pb.FetchAllResponse(resources=[wire.resource_to_wire(resource) for resource in found])

    def _check_held(self, key: str) -> None:
        """Raises Collision for a lock that the server's owner holds; the owner does not lock over gRPC."""
        if key in self._held:
            raise Collision(key)

    @asynccontextmanager
    async def serve(
        self, address: str, credentials: grpc.ServerCredentials | None = None
    ) -> AsyncIterator[int]:
        """Serve while the context lasts; entering returns the bound port (useful for port 0).

        credentials: TLS credentials of the server; None for a plain listener.

        Raises RuntimeError if the address cannot be bound.
        """
        # gRPC accepts connections itself, so it gets the limits: refuse excess connections, drop silent ones.
        bounds = (
            ("grpc.max_allowed_incoming_connections", connections.connection_limit()),
            ("grpc.server_handshake_timeout_ms", int(1000 * connections.HEAD_TIMEOUT_S)),
        )
        server = grpc.aio.server(options=(*OPTIONS, *bounds))
        server.add_generic_rpc_handlers((self._handlers(),))
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        await server.start()
        try:
            yield port
        finally:
            await server.stop(STOP_GRACE_S)

    def _handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        calls = (
            _handler(wire.LOCK, self.lock),
            _handler(wire.FETCH, self.fetch),
            _handler(wire.RELEASE, self.release),
            _handler(wire.FETCH_ALL, self.fetch_all),
        )
        return grpc.method_handlers_generic_handler(wire.SERVICE, dict(calls))


async def _invalid_type(context: Context) -> NoReturn:
    await context.abort(grpc.StatusCode.NOT_FOUND, "invalid-type")


def _handler(
    method: wire.Method[Any, Any], call: Callable[[Any, Context], Awaitable[Message]]
) -> tuple[str, grpc.RpcMethodHandler[Any, Any]]:
    async def answer(body: bytes, context: Context) -> Message:
        try:
            request = method.request.FromString(body)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INTERNAL, f"grpc: error unmarshalling request: {error}")
        try:
            return await call(request, context)
        except StoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except grpc.aio.AbortError:
            raise
        except Exception:  # the edge of the server: one call fails
            logger.exception("locket-call-failed", extra={"data": {"method": method.name}})
            await context.abort(grpc.StatusCode.INTERNAL, "the call failed, the server's log says why")

    return method.name, grpc.unary_unary_rpc_method_handler(
        answer,
        # gRPC's own decoder only logs a traceback for an invalid message.
        request_deserializer=None,
        response_serializer=method.response.SerializeToString,
    )


def locket_credentials(files: IdentityFiles) -> grpc.ServerCredentials:
    """Credentials that follow changes of the files. Raises OSError, TLSConfigurationError."""
    fingerprint = files.fingerprint()
    current = _configuration(files)

    def newest() -> grpc.ServerCertificateConfiguration:
        """gRPC calls this before each handshake, on a separate thread."""
        nonlocal fingerprint, current
        now = files.fingerprint()
        if now == fingerprint:
            return current
        fingerprint = now
        try:
            current = _configuration(files)
        except (OSError, TLSConfigurationError) as error:
            data = {"certificate": str(files.cert_file), "error": str(error)}
            logger.error("locket.tls-identity-not-renewed", extra={"data": data})
        return current

    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        current, newest, require_client_authentication=True
    )
    return credentials


def _configuration(files: IdentityFiles) -> grpc.ServerCertificateConfiguration:
    # gRPC accepts invalid PEM data and then fails every handshake, so validate the files first.
    server_context(files.ca_file, files.cert_file, files.key_file)
    return grpc.ssl_server_certificate_configuration(
        [(files.key_file.read_bytes(), files.cert_file.read_bytes())],
        root_certificates=files.ca_file.read_bytes(),
    )
