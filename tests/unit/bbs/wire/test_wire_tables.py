"""Every message and field of the protocol's tables, compared with hand-written bytes.

``golden/protocol/messages.txt`` holds the tables; the encoder here knows nothing but them. Each message is
written once with every field set, which gives fixtures for all that no recording shows.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.message import Message

from bbs.models.actions import EmptyAction
from bbs.models.events import EVENT_TYPES
from bbs.wire import sse
from bbs.wire.mapping import to_model, to_wire
from bbs.wire.messages import FILES, message_class
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

TABLES = GOLDEN_FILES / "protocol" / "messages.txt"
NUMBERS = frozenset({"int32", "int64", "uint32", "uint64"})
VARINT, LENGTH = 0, 2
WIRE_TYPES = {"V": VARINT, "L": LENGTH}


@dataclass(frozen=True)
class Row:
    """A field as its table has it. type: without the mark of a repeated one."""

    number: int
    wire_type: int
    type: str
    repeated: bool
    name: str
    explicit: bool


@dataclass
class Tables:
    messages: dict[str, list[Row]] = field(default_factory=dict)
    enums: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Tables:
        tables, rows, values = cls(), list[Row](), dict[str, int]()
        for line in text.splitlines():
            match line.split():
                case ["#", *_]:
                    continue
                case ["message", name]:
                    rows = tables.messages[name] = []
                case ["enum", name]:
                    values = tables.enums[name] = {}
                case [number, "V" | "L" as wire_type, kind, name, *explicit]:
                    rows.append(
                        Row(
                            number=int(number),
                            wire_type=WIRE_TYPES[wire_type],
                            type=kind.removeprefix("*"),
                            repeated=kind.startswith("*"),
                            name=name,
                            explicit=bool(explicit),
                        )
                    )
                case [number, name]:
                    values[name] = int(number)
        return tables

    def enum(self, message: str, kind: str) -> dict[str, int]:
        """Of a field's type: of the message itself, of a named one, or of none."""
        return next(self.enums[name] for name in (f"{message}.{kind}", kind) if name in self.enums)


TABLE = Tables.read(TABLES.read_text())


def varint(value: int) -> bytes:
    """Seven bits at a time, the lowest first; a set high bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tagged(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | LENGTH) + varint(len(value)) + value


def number_for(row: Row) -> int:
    """Of more than one byte, and another one for each field."""
    return 1 if row.type == "bool" else 300 + row.number


def text_for(row: Row, nth: int = 0) -> str:
    return f"{row.name} {nth} \N{SNOWMAN}"


def map_types(row: Row) -> tuple[str, str]:
    key, _, value = row.type.removeprefix("map<").removesuffix(">").partition(",")
    return key, value


def items(message: str, row: Row, within: tuple[str, ...]) -> Iterator[int | bytes]:
    """The values of a field, as they stand on the wire."""
    for nth in range(2 if row.repeated else 1):
        if row.type in NUMBERS or row.type == "bool":
            yield number_for(row) + nth
        elif row.type == "string":
            yield text_for(row, nth).encode()
        elif row.type.startswith("map<"):
            value = map_types(row)[1]
            content = full(value, within) if value in TABLE.messages else text_for(row).encode()
            yield tagged(1, b"key") + tagged(2, content)
        elif row.type in TABLE.messages:
            yield full(row.type, within)
        else:
            yield max(TABLE.enum(message, row.type).values())


ONE_ACTION = ("Action",)
"""Context of a message that is to hold actions as a client writes them: one of the nine in each wrapper."""


def rows_within(message: str, within: tuple[str, ...]) -> list[Row]:
    """All fields; but actions hold actions, and inside of one only a plain one is set."""
    rows = sorted(TABLE.messages[message], key=lambda row: row.number)
    if message == "Action" and "Action" in within:
        return [row for row in rows if row.name == "run_action"]
    return rows


def full(message: str, within: tuple[str, ...] = ()) -> bytes:
    """The message with every field set."""
    deeper = (*within, message)
    return b"".join(
        tagged(row.number, item)
        for row in rows_within(message, within)
        for item in items(message, row, deeper)
    )


def check(message: Any, name: str, within: tuple[str, ...] = ()) -> None:
    """That a decoded message holds, under the right names, what :func:`full` wrote."""
    deeper = (*within, name)
    for row in rows_within(name, within):
        value = getattr(message, row.name)
        if row.type.startswith("map<"):
            assert list(value) == ["key"]
            if map_types(row)[1] in TABLE.messages:
                check(value["key"], map_types(row)[1], deeper)
            else:
                assert as_text(value["key"]) == text_for(row)
            continue
        for nth, item in enumerate(value if row.repeated else [value]):
            if row.type in NUMBERS or row.type == "bool":
                assert item == number_for(row) + nth
            elif row.type == "string":
                assert as_text(item) == text_for(row, nth)
            elif row.type in TABLE.messages:
                check(item, row.type, deeper)
            else:
                assert item == max(TABLE.enum(name, row.type).values())


def as_text(value: str | bytes) -> str:
    """What processes of users write is bytes to us: the same on the wire."""
    return value.decode() if isinstance(value, bytes) else value


def ours() -> dict[str, Any]:
    return {name: value for file in FILES for name, value in file.message_types_by_name.items()}


def test_we_have_the_messages_of_the_tables_and_no_others() -> None:
    assert ours().keys() == TABLE.messages.keys()


@pytest.mark.parametrize("name", TABLE.messages)
def test_a_message_has_the_fields_of_its_table_and_no_others(name: str) -> None:
    fields = {(item.number, item.name) for item in ours()[name].fields}
    assert fields == {(row.number, row.name) for row in TABLE.messages[name]}


@pytest.mark.parametrize("name", TABLE.enums)
def test_an_enum_has_the_values_of_its_table(name: str) -> None:
    owner, _, kind = name.rpartition(".")
    enums = ours()[owner].enum_types_by_name if owner else FILES_ENUMS
    assert {value.name: value.number for value in enums[kind].values} == TABLE.enums[name]


FILES_ENUMS: dict[str, Any] = {
    name: value for file in FILES for name, value in file.enum_types_by_name.items()
}


def test_the_tables_have_all_our_enums() -> None:
    nested = {f"{name}.{kind}" for name, value in ours().items() for kind in value.enum_types_by_name}
    assert nested | FILES_ENUMS.keys() == TABLE.enums.keys()


@pytest.mark.parametrize("name", TABLE.messages)
def test_every_field_decodes_and_encodes(name: str) -> None:
    data = full(name)
    message = message_class(name).FromString(data)
    check(message, name)
    assert {item.number for item, _ in message.ListFields()} == {row.number for row in TABLE.messages[name]}
    message.DiscardUnknownFields()
    assert message.SerializeToString(deterministic=True) == data


SCALARS = [
    pytest.param(name, row, id=f"{name}.{row.name}")
    for name, rows in TABLE.messages.items()
    for row in rows
    if not row.repeated and not row.type.startswith("map<") and row.type not in TABLE.messages
]


@pytest.mark.parametrize(("name", "row"), SCALARS)
def test_zero_is_kept_only_where_it_differs_from_unset(name: str, row: Row) -> None:
    zero = tagged(row.number, 0 if row.wire_type == VARINT else b"")
    message: Message = message_class(name).FromString(zero)
    assert message.SerializeToString() == (zero if row.explicit else b"")


REPEATED_NUMBERS = [
    pytest.param(name, row, id=f"{name}.{row.name}")
    for name, rows in TABLE.messages.items()
    for row in rows
    if row.repeated and row.type in NUMBERS
]


@pytest.mark.parametrize(("name", "row"), REPEATED_NUMBERS)
def test_repeated_numbers_are_written_one_by_one_and_understood_packed(name: str, row: Row) -> None:
    packed = tagged(row.number, varint(300) + varint(301))
    message: Message = message_class(name).FromString(packed)
    assert list(getattr(message, row.name)) == [300, 301]
    assert message.SerializeToString() == tagged(row.number, 300) + tagged(row.number, 301)


MESSAGES_WITHIN = [
    pytest.param(name, row, id=f"{name}.{row.name}")
    for name, rows in TABLE.messages.items()
    for row in rows
    if row.type in TABLE.messages and not row.repeated
]


@pytest.mark.parametrize(("name", "row"), MESSAGES_WITHIN)
def test_an_empty_message_differs_from_none(name: str, row: Row) -> None:
    empty = tagged(row.number, b"")
    message: Message = message_class(name).FromString(empty)
    assert message.HasField(row.name)
    assert message.SerializeToString() == empty


def modelled() -> Iterator[str]:
    for name in TABLE.messages:
        try:
            to_model(message_class(name)())
        except TypeError:
            continue
        yield name


@pytest.mark.parametrize("name", [*modelled()])
def test_every_field_survives_the_models(name: str) -> None:
    message = message_class(name).FromString(full(name, ONE_ACTION))
    model = to_model(message)
    assert not isinstance(model, EmptyAction)
    again = to_wire(model, type(message))
    assert again == message
    assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)


FRAMES = {
    "desired_lrp_created": "DesiredLRPCreatedEvent",
    "desired_lrp_changed": "DesiredLRPChangedEvent",
    "desired_lrp_removed": "DesiredLRPRemovedEvent",
    "actual_lrp_instance_created": "ActualLRPInstanceCreatedEvent",
    "actual_lrp_instance_changed": "ActualLRPInstanceChangedEvent",
    "actual_lrp_instance_removed": "ActualLRPInstanceRemovedEvent",
    "actual_lrp_crashed": "ActualLRPCrashedEvent",
    "actual_lrp_created": "ActualLRPCreatedEvent",
    "actual_lrp_changed": "ActualLRPChangedEvent",
    "actual_lrp_removed": "ActualLRPRemovedEvent",
    "task_created": "TaskCreatedEvent",
    "task_changed": "TaskChangedEvent",
    "task_removed": "TaskRemovedEvent",
}
"""Name and payload of each event of the streams."""


def test_there_are_no_other_events() -> None:
    assert FRAMES.keys() == EVENT_TYPES.keys()
    assert set(FRAMES.values()) == {name for name in TABLE.messages if name.endswith("Event")}


@pytest.mark.parametrize(("event", "payload"), FRAMES.items())
def test_every_event_has_its_frame(event: str, payload: str) -> None:
    data = full(payload, ONE_ACTION)
    frame = f"id: 7\nevent: {event}\ndata: {base64.b64encode(data).decode()}\n\n".encode()
    [record] = sse.Parser().feed(frame)
    read = sse.decode_record(record)
    assert type(read).__name__ == payload
    assert to_wire(read).SerializeToString(deterministic=True) == data
    assert sse.number_record(7, sse.encode_event(read)) == frame
