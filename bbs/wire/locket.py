"""The Locket service: its name, methods and messages. Shared by client and server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from bbs.wire.proto import locket_pb2

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

SERVICE = "models.Locket"


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """One unary method."""

    name: str
    request: type[Request]
    response: type[Response]

    @property
    def path(self) -> str:
        return f"/{SERVICE}/{self.name}"


LOCK = Method("Lock", locket_pb2.LockRequest, locket_pb2.LockResponse)
FETCH = Method("Fetch", locket_pb2.FetchRequest, locket_pb2.FetchResponse)
RELEASE = Method("Release", locket_pb2.ReleaseRequest, locket_pb2.ReleaseResponse)
FETCH_ALL = Method("FetchAll", locket_pb2.FetchAllRequest, locket_pb2.FetchAllResponse)

UUID_METADATA = "uuid"
"""Metadata key of Lock, and of the Fetch after a failed Lock; a random value per call, for logs."""
