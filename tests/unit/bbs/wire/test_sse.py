"""Server-sent events: splitting, reading, writing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import EVENT_TYPES, ActualLRPCrashedEvent, TaskRemovedEvent
from bbs.wire.sse import Parser, Record, decode_record, encode_event, number_record
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "events"
STREAMS: dict[str, dict[str, Any]] = {
    str(path.relative_to(GOLDEN)): document
    for path in sorted(GOLDEN.rglob("*.json"))
    if "response" in (document := json.loads(path.read_text()))
}
each_stream = pytest.mark.parametrize("document", STREAMS.values(), ids=STREAMS)

CRASHED = ActualLRPCrashedEvent(actual_lrp_key=ActualLRPKey(process_guid="p"), crash_count=2)


def unchunked(raw: bytes) -> bytes:
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        body += raw[:length]
        raw = raw[length + 2 :]
    return body


def body_of(document: dict[str, Any]) -> bytes:
    return unchunked(base64.b64decode(document["response"]["raw_body_base64"]))


@each_stream
def test_recorded_streams_are_cut_into_their_events(document: dict[str, Any]) -> None:
    expected = [
        Record(str(event["id"]), event["event"], event["data_base64"])
        for event in document["response"]["events"]
    ]
    assert Parser().feed(body_of(document)) == expected


@each_stream
def test_what_we_write_is_what_was_recorded(document: dict[str, Any]) -> None:
    body = body_of(document)
    events = [decode_record(record) for record in Parser().feed(body)]
    written = b"".join(number_record(number, encode_event(event)) for number, event in enumerate(events))
    assert len(written) == len(body)
    assert [decode_record(record) for record in Parser().feed(written)] == events


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_reads_may_be_split_anywhere(size: int, newline: bytes) -> None:
    body = (
        number_record(0, encode_event(CRASHED)) + number_record(1, encode_event(TaskRemovedEvent()))
    ).replace(b"\n", newline)
    parser = Parser()
    records = [
        record for start in range(0, len(body), size) for record in parser.feed(body[start : start + size])
    ]
    assert [(record.id, record.event) for record in records] == [
        ("0", "actual_lrp_crashed"),
        ("1", "task_removed"),
    ]


def test_an_unfinished_record_is_none() -> None:
    assert Parser().feed(number_record(0, encode_event(CRASHED))[:-1]) == []


def test_comments_and_other_fields_are_passed_over() -> None:
    assert Parser().feed(b": hello\n\nretry: 5\n\nevent:x\ndata:a\ndata: b\n\n") == [Record("", "x", "a\nb")]


def test_every_event_has_a_name_of_its_own() -> None:
    for name, payload in EVENT_TYPES.items():
        assert f"\nevent: {name}\n".encode() in number_record(0, encode_event(payload()))


def test_unknown_event() -> None:
    with pytest.raises(BBSError, match="unrecognised event type 'domain_created'") as raised:
        decode_record(Record("0", "domain_created", "CgFk"))
    assert raised.value.type is ErrorType.InvalidResponse


@pytest.mark.parametrize("data", ["", "%%%", base64.b64encode(b"\xff\xff").decode()])
def test_unreadable_data(data: str) -> None:
    with pytest.raises(BBSError, match="event task_removed 7") as raised:
        decode_record(Record("7", "task_removed", data))
    assert raised.value.type is ErrorType.InvalidProtobufMessage
