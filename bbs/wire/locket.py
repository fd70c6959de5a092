"""The Locket service: its name, methods, messages and resources. Shared by client and server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from bbs.models.locket import Resource, TypeCode
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


def resource_to_wire(resource: Resource) -> locket_pb2.Resource:
    return locket_pb2.Resource(
        key=resource.key,
        owner=resource.owner,
        value=resource.value,
        type=legacy_type(resource.type_code),
        type_code=resource.type_code.name,
    )


def resource_to_model(resource: locket_pb2.Resource) -> Resource:
    known = {int(code): code for code in TypeCode}
    return Resource(
        key=resource.key,
        owner=resource.owner,
        value=resource.value,
        type_code=known.get(resource.type_code, TypeCode.UNKNOWN),
    )


def legacy_type(type_code: TypeCode) -> str:
    """The deprecated text form, which the Go programs still send beside the number."""
    return "" if type_code is TypeCode.UNKNOWN else type_code.name.lower()
