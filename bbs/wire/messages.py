"""The message classes by name, and their fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from bbs.wire.proto import (
    actions_pb2,
    actual_lrp_pb2,
    actual_lrp_requests_pb2,
    cell_pb2,
    common_pb2,
    desired_lrp_pb2,
    desired_lrp_requests_pb2,
    domain_pb2,
    error_pb2,
    evacuation_pb2,
    events_pb2,
    locket_pb2,
    task_pb2,
    task_requests_pb2,
    workload_pb2,
)

FILES = tuple(
    module.DESCRIPTOR
    for module in (
        actions_pb2,
        actual_lrp_pb2,
        actual_lrp_requests_pb2,
        cell_pb2,
        common_pb2,
        desired_lrp_pb2,
        desired_lrp_requests_pb2,
        domain_pb2,
        error_pb2,
        evacuation_pb2,
        events_pb2,
        locket_pb2,
        task_pb2,
        task_requests_pb2,
        workload_pb2,
    )
)
"""Descriptors of all our ``.proto`` files."""

_DESCRIPTORS = {name: found for file in FILES for name, found in file.message_types_by_name.items()}


def message_class(name: str) -> type[Message]:
    """The class of the message with that name, without package; raises :class:`KeyError` if unknown."""
    return message_factory.GetMessageClass(_DESCRIPTORS[name])


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    message: name of the sub-message, empty for a scalar.
    map_value: the field of the values, if it is a map.
    has_presence: whether unset and zero are distinct.
    """

    name: str
    number: int
    message: str
    is_bytes: bool
    is_enum: bool
    is_repeated: bool
    has_presence: bool
    map_value: Field | None


def fields(cls: type[Message]) -> list[Field]:
    """The fields of a message, in order of declaration."""
    return [_field(descriptor) for descriptor in cls.DESCRIPTOR.fields]


def _field(descriptor: Any) -> Field:
    # Any: the descriptor class depends on the protobuf implementation.
    message = descriptor.message_type
    is_map = message is not None and message.GetOptions().map_entry
    return Field(
        name=descriptor.name,
        number=descriptor.number,
        message=message.name if message is not None and not is_map else "",
        is_bytes=descriptor.type == FieldDescriptor.TYPE_BYTES,
        is_enum=descriptor.enum_type is not None,
        is_repeated=descriptor.is_repeated and not is_map,
        has_presence=descriptor.has_presence,
        map_value=_field(message.fields_by_name["value"]) if message is not None and is_map else None,
    )
