"""The last log lines of instances."""

from __future__ import annotations

import pytest

from cell.story import tails
from cell.story.tails import Tails, key_of
from executor.logs.api import LineBatch, LogLine, Stream
from executor.logs.streamer import LogStreamer
from executor.model import LogConfig
from tests.support.cell import AppLog

pytestmark = pytest.mark.unit


def lines(*texts: bytes, source_id: str = "app", instance_id: str = "0") -> LineBatch:
    first = LogLine(texts[0], Stream.OUT, source_id, instance_id, "APP", 0)
    return LineBatch(first, texts, range(len(texts)))


def test_a_reader_gets_what_came_after_the_last_line_it_knows() -> None:
    kept = Tails()
    kept.emit_batch(lines(b"a", b"b"))
    kept.emit(lines(b"c").first)
    tail = kept.of(("app", "0"))
    assert tail is not None
    assert [line.payload for line in tail.after(0)] == [b"a", b"b", b"c"]
    assert [line.payload for line in tail.after(2)] == [b"c"]
    assert tail.after(3) == []
    assert kept.of(("app", "1")) is None


def test_a_tail_has_the_last_lines_of_a_flood_and_counts_all() -> None:
    kept = Tails()
    kept.emit_batch(lines(*(b"%d" % number for number in range(1000))))
    tail = kept.of(("app", "0"))
    assert tail is not None
    assert tail.count == 1000
    assert [line.payload for line in tail.after(0)] == [
        b"%d" % number for number in range(1000 - tails.LINES_MOST, 1000)
    ]


def test_single_lines_and_large_reads_are_one_sequence() -> None:
    kept = Tails()
    for number in range(250):
        kept.emit_batch(lines(b"single %d" % number))
    kept.emit_batch(lines(*(b"read %d" % number for number in range(150))))
    tail = kept.of(("app", "0"))
    assert tail is not None
    texts = [line.payload for line in tail.after(0)]
    assert texts == [b"single %d" % n for n in range(200, 250)] + [b"read %d" % n for n in range(150)]
    assert [line.payload for line in tail.after(399)] == [b"read 149"]


def test_long_lines_are_cut_and_a_tail_is_bounded_in_bytes() -> None:
    kept = Tails()
    kept.emit_batch(lines(*(b"x" * 60_000 for _ in range(100))))
    tail = kept.of(("app", "0"))
    assert tail is not None
    assert tail.size <= tails.TAIL_BYTES_MOST
    assert {len(line.payload) for line in tail.after(0)} == {tails.LINE_BYTES_MOST}
    assert {line.cut for line in tail.after(0)} == {60_000 - tails.LINE_BYTES_MOST}


def test_all_tails_are_bounded_in_bytes_and_the_least_recent_go() -> None:
    kept = Tails()
    flood = [b"x" * 4000] * 20
    instances = tails.TOTAL_BYTES_MOST // tails.TAIL_BYTES_MOST + 50
    for number in range(instances):
        kept.emit_batch(lines(*flood, instance_id=str(number)))
        kept.emit_batch(lines(b"still here", instance_id="0"))
    assert kept.size <= tails.TOTAL_BYTES_MOST
    assert kept.of(("app", "0")) is not None
    assert kept.of(("app", "1")) is None
    assert kept.of(("app", str(instances - 1))) is not None


@pytest.mark.parametrize("tags", [{}, {"source_id": "s\ud800", "instance_id": "7"}])
def test_the_key_of_an_instance_is_that_of_its_lines(tags: dict[str, str]) -> None:
    config = LogConfig(guid="guid", index=3, tags=tags)
    log = AppLog()
    LogStreamer(log, config).direct("hello")
    assert key_of(config) == (log.lines[0].source_id, log.lines[0].instance_id)
