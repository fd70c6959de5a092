"""A line as JSON, as a syslog message of RFC 5424, and as a journal entry."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.logs.api import LineBatch, LogLine, Stream
from executor.logs.files import JsonLines
from executor.logs.journald import JournalEntries, field_name
from executor.logs.labels import MAX_KEPT, PerLabel
from executor.logs.syslog import OctetCounted, SyslogMessages
from tests.support.loglines import make_line

pytestmark = pytest.mark.unit


def test_json() -> None:
    lines = [
        make_line('say "é"\t', tags={"origin": "rep"}),
        make_line(b"\xff", stream=Stream.ERR, source_id='a"b', time_ns=5),
    ]
    encode = JsonLines()
    first, second = (json.loads(piece) for line in lines for piece, _ in encode(LineBatch.of(line)))
    assert first == {
        "time_ns": 1_522_171_784_100_530_624, "source_id": "app-guid", "instance_id": "2",
        "source_type": "APP/PROC/WEB", "stream": "OUT", "message": 'say "é"\t', "tags": {"origin": "rep"},
    }  # fmt: skip
    assert (second["message"], second["stream"], second["source_id"], second["time_ns"]) == (
        "\ufffd", "ERR", 'a"b', 5,
    )  # fmt: skip


short = st.text(max_size=5)


@given(st.lists(st.binary(max_size=50), min_size=1), short, st.dictionaries(short, short))
def test_json_is_one_line_whatever_is_in_it(payloads: list[bytes], name: str, tags: dict[str, str]) -> None:
    if len(payloads) > 1:
        payloads = [payload.replace(b"\n", b"") for payload in payloads]
    first = LogLine(payloads[0], Stream.OUT, name, name, name, 1, tags)
    ((encoded, count),) = JsonLines()(LineBatch(first, payloads, range(1, len(payloads) + 1)))
    assert count == len(payloads) == encoded.count(b"\n")
    records = [json.loads(text) for text in encoded.split(b"\n")[:-1]]
    assert [record["message"] for record in records] == [text.decode(errors="replace") for text in payloads]
    assert all((record["source_id"], record["tags"]) == (name, tags) for record in records)


def test_syslog() -> None:
    messages = SyslogMessages("cell-1")
    assert messages(make_line("hello é", tags={"origin": "rep", "process_id": "x"})) == (
        b"<14>1 2018-03-27T17:29:44.100530Z cell-1 app-guid [APP/PROC/WEB/2] - "
        b'[tags@47450 origin="rep" process_id="x"] hello \xc3\xa9'
    )
    assert messages(make_line("", stream=Stream.ERR, source_id="", time_ns=0)) == (
        b"<11>1 1970-01-01T00:00:00.000000Z cell-1 - [APP/PROC/WEB/2] - - "
    )


def test_syslog_names_and_values_keep_to_the_grammar() -> None:
    message = SyslogMessages("h é")(make_line("x", source_id="a b" * 30, tags={'k=" ]': 'a"b\\c]d'}))
    header, _, rest = message.decode().partition(" [tags@47450 ")
    assert header.split(" ")[2:4] == ["h__", ("a_b" * 30)[:48]]
    assert rest == 'k____="a\\"b\\\\c\\]d"] x'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x00", "\u2028", "\x85", "\x1b]0;title\x07"])
def test_syslog_is_one_line_whatever_its_labels_hold(end: str) -> None:
    """A line end in a tag or a source id would begin a message of an app's choice at many receivers."""
    forged = f'app{end}<14>1 - forged "] admin'
    line = make_line(
        "x", source_id=forged, instance_id=forged, tags={"source_id": forged, "": "", forged: ""}
    )
    message = SyslogMessages("h")(line).decode()
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert message.endswith('=""] x')


def test_syslog_on_a_stream_is_counted_in_bytes() -> None:
    messages = SyslogMessages("h")
    framed = OctetCounted(messages)(make_line("é"))
    length, _, message = framed.partition(b" ")
    assert int(length) == len(message)
    assert message == messages(make_line("é"))


def journal_fields(entry: bytes) -> dict[str, bytes]:
    """An entry as the journal reads it."""
    fields: dict[str, bytes] = {}
    while entry:
        head, _, rest = entry.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if equals:
            entry = rest
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            value, entry = rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()] = value
    return fields


def test_journal() -> None:
    line = make_line(b"a=b \xff", stream=Stream.ERR, tags={"process-type": "web", "odd": "two\nlines"})
    assert journal_fields(JournalEntries()(line)) == {
        "PRIORITY": b"3",
        "SYSLOG_IDENTIFIER": b"APP/PROC/WEB/2",
        "CF_SOURCE_ID": b"app-guid",
        "CF_INSTANCE_ID": b"2",
        "CF_SOURCE_TYPE": b"APP/PROC/WEB",
        "CF_STREAM": b"ERR",
        "CF_TAG_PROCESS_TYPE": b"web",
        "CF_TAG_ODD": b"two\nlines",
        "CF_TIME_NS": b"1522171784100530624",
        "MESSAGE": b"a=b \xff",
    }


def test_journal_names_are_not_longer_than_it_takes() -> None:
    assert field_name("x" * 100) == "CF_TAG_" + "X" * 57


def test_what_lines_share_is_encoded_once_and_forgotten_in_time() -> None:
    made: list[str] = []

    def make(line: LogLine) -> str:
        made.append(line.source_id)
        return line.source_id

    labels = PerLabel(make)
    tags = {"a": "b"}
    for _ in range(3):
        assert labels(make_line(source_id="one", tags=tags)) == "one"
    assert made == ["one"]
    for number in range(MAX_KEPT):
        labels(make_line(source_id=str(number)))
    labels(make_line(source_id="one", tags=tags))
    assert made.count("one") == 2
