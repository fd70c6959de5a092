"""Protobuf messages of any content for property tests, with boundary values in every field."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from bbs.wire.messages import message_class

DEPTH = 4
"""Messages inside each other; deeper ones are left out."""

NAMES = st.sampled_from(
    [
        "",
        "g",
        "web",
        "../../evacuate",
        "a/b",
        "..",
        "\0",
        "%2e%2e",
        "é\u2028",
        "x" * 300,
        "docker:///x",
        "preloaded:busybox",
        "http://[::1",
        "http://127.0.0.1:1/x",
        "http://h:99999/",
        "10.0.0.0/" + "9" * 5000,
        "1.2.3.4-1.2.3.3",
    ]
)
TEXTS = NAMES | st.text(max_size=20).filter(
    lambda text: not any("\ud800" <= char <= "\udfff" for char in text)
)

_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def messages(cls: type[Message], depth: int = DEPTH) -> st.SearchStrategy[Any]:
    """Messages of a class, as instances."""
    optional = {field.name: _field(field, depth) for field in cls.DESCRIPTOR.fields if _fits(field, depth)}
    return st.fixed_dictionaries({}, optional=optional).map(lambda values: cls(**values))


def _fits(field: Any, depth: int) -> bool:
    return depth > 0 or field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE


def _field(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return st.dictionaries(TEXTS, _single(value, depth - 1), max_size=2)
    single = _single(field, depth)
    return st.lists(single, max_size=2) if field.is_repeated else single


def _single(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        inner = message_class(field.message_type.name)
        return st.deferred(lambda: messages(inner, depth - 1))
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values] + [77])
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=20) | st.just(b"[" * 2000)
        return TEXTS
    low, high = _BOUNDS[field.cpp_type]
    return st.sampled_from([low, -1 if low else 0, 0, 1, 2, high]) | st.integers(low, high)
