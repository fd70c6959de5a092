"""The event streams, and the encoding of events as server-sent events.

A record is ``id: N``, ``event: NAME``, ``data: BASE64`` and a blank line; the data is the serialised payload.
There are no comments, no ``retry:`` and no replay.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import EVENT_NAMES, EVENT_TYPES, Event
from bbs.wire.mapping import decode, encode, to_model, to_wire
from bbs.wire.messages import message_class


@dataclass(frozen=True, slots=True)
class Stream:
    """One event stream. filtered: its request may carry an ``EventsByCellId``."""

    method: str
    path: str
    filtered: bool


LRP_GROUP_EVENTS = Stream("GET", "/v1/events.r1", filtered=True)
LRP_INSTANCE_EVENTS = Stream("POST", "/v1/events/lrp_instances.r1", filtered=True)
TASK_EVENTS = Stream("POST", "/v1/events/tasks.r1", filtered=False)
LRP_GROUP_EVENTS_R0 = Stream("GET", "/v1/events", filtered=True)
LRP_INSTANCE_EVENTS_R0 = Stream("POST", "/v1/events/lrp_instances", filtered=True)
TASK_EVENTS_R0 = Stream("POST", "/v1/events/tasks", filtered=False)

CONTENT_TYPE = "text/event-stream; charset=utf-8"

RECORD_BYTES = 192 << 20
"""Size limit of one record. A changed event holds two of the largest requests of a BBS, in base64."""

SHOWN: Final = 80
"""Maximum characters of an unknown event name in an error."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a stream, as text."""

    id: str
    event: str
    data: str


def encode_event(event: Event) -> bytes:
    """A record without its number: the same on every stream."""
    data = base64.b64encode(encode(to_wire(event))).decode("ascii")
    return f"event: {EVENT_NAMES[type(event)]}\ndata: {data}\n\n".encode("ascii")


def number_record(id: int, encoded: bytes) -> bytes:
    """A whole record, from the result of :func:`encode_event`; ``id`` counts from 0 on each connection."""
    return b"id: %d\n%b" % (id, encoded)


def decode_record(record: Record) -> Event:
    """The event of a record.

    Raises :class:`BBSError`: ``InvalidResponse`` for an unknown event name, ``InvalidProtobufMessage`` for
    empty or invalid data.
    """
    payload = EVENT_TYPES.get(record.event)
    if payload is None:
        raise BBSError(ErrorType.InvalidResponse, f"unrecognised event type {record.event[:SHOWN]!r}")
    if not record.data:
        raise BBSError(ErrorType.InvalidProtobufMessage, f"event {record.event} {record.id} has no data")
    try:
        data = base64.b64decode(record.data, validate=True)
        event: Event = to_model(decode(message_class(payload.__name__), data))
    except (binascii.Error, BBSError) as error:
        message = f"cannot read the data of event {record.event} {record.id}: {error}"
        raise BBSError(ErrorType.InvalidProtobufMessage, message) from error
    return event


class RecordTooLarge(Exception):
    """A record exceeds the size limit."""


@dataclass(slots=True)
class Parser:
    """Splits a byte stream into records, independent of read boundaries."""

    _rest: bytearray = field(default_factory=bytearray)
    _fields: dict[str, list[str]] = field(default_factory=dict)
    _size: int = 0

    def feed(self, data: bytes) -> list[Record]:
        """The records that ``data`` completes. Raises RecordTooLarge."""
        first, *others = data.split(b"\n")
        self._rest += first
        self._grow(len(first))
        records = []
        for following in others:
            text = self._rest.removesuffix(b"\r").decode("utf-8", "replace")
            self._rest = bytearray(following)
            self._grow(len(following))
            if text:
                name, _, value = text.partition(":")
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            elif self._fields:
                records.append(self._take())
        return [record for record in records if record.event or record.data]

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > RECORD_BYTES:
            raise RecordTooLarge(f"a record of the stream is larger than {RECORD_BYTES} bytes")

    def _take(self) -> Record:
        fields, self._fields = self._fields, {}
        self._size = len(self._rest)
        return Record(
            id=fields.get("id", [""])[-1],
            event=fields.get("event", [""])[-1],
            data="\n".join(fields.get("data", [])),
        )
