"""Limits, labels and tags of a container's log."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from executor.logs.api import LineBatch, LogLine, Stream
from executor.logs.files import JsonLines
from executor.logs.journald import JournalEntries
from executor.logs.rate import RateLimiter
from executor.logs.shipper import each_alone
from executor.logs.sinks import LOST_LINES, FanOut, RingSink
from executor.logs.streamer import LogStreamer
from executor.logs.syslog import SyslogMessages
from executor.model import LogConfig
from tests.support.clocks import HeldClock

pytestmark = pytest.mark.unit


class Kept:
    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def emit(self, line: LogLine) -> None:
        self.lines.append(line)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def sink() -> Kept:
    return Kept()


BYTES = "app instance exceeded log rate limit (10 bytes/sec)"
LINES = "app instance exceeded log rate limit (2 log-lines/sec) set by platform operator"


@pytest.mark.parametrize(
    ("limits", "script"),
    [
        ((-1, 0), [(0, 10**9, None), (0, 1, None)]),
        ((0, 0), [(0, 1, ""), (5, 1, "")]),
        ((10, 0), [(0, 10, None), (0.5, 5, None), (0.5, 1, BYTES)]),
        ((10, 0), [(0, 11, BYTES), (0.99, 1, ""), (1, 1, None)]),
        ((10, 0), [(0, 10, None), (100, 10, None), (100, 1, BYTES)]),
        ((-1, 2), [(0, 1, None), (0, 1, None), (0, 1, LINES), (0.9, 1, ""), (1, 1, None)]),
        ((10, 2), [(0, 1, None), (0, 1, None), (0, 8, LINES), (1.0, 10, None)]),
        ((10, 2), [(0, 1, None), (0, 1, None), (0, 9, BYTES)]),
    ],
)
def test_limits(clock: Any, limits: Any, script: Any) -> None:
    """script: (s since the beginning, bytes of the line, refusal)."""
    bytes_per_second, max_lines = limits
    limiter = RateLimiter(bytes_per_second, max_lines, clock)
    for at, size, refusal in script:
        clock.now = 100.0 + at
        assert limiter.admit(size) == refusal
    dropped = [size for _, size, refusal in script if refusal is not None]
    accepted = [size for _, size, refusal in script if refusal is None]
    assert (limiter.dropped_lines, limiter.dropped_bytes) == (len(dropped), sum(dropped))
    assert limiter.accepted_bytes == sum(accepted)


def test_a_line_refused_for_lines_has_used_its_bytes(clock: Any) -> None:
    limiter = RateLimiter(10, 1, clock)
    assert limiter.admit(1) is None
    assert "log-lines" in (limiter.admit(9) or "")
    clock.now += 1.05
    assert limiter.admit(10) is None


def test_a_line_with_all_its_labels(sink: Any, clock: Any) -> None:
    streamer = LogStreamer(sink, LogConfig(guid="g", index=3, source_name="CELL"), clock=clock)
    output = streamer.stream("APP")
    output.stdout(b"out\n")
    output.stderr(b"err\n")
    out, err = sink.lines
    assert (out.payload, out.stream, out.source_type) == (b"out", Stream.OUT, "APP")
    assert (err.payload, err.stream) == (b"err", Stream.ERR)
    assert (out.source_id, out.instance_id, out.time_ns) == ("g", "3", 100_000_000_000)
    assert out.tags == {"origin": "rep", "source_type": "APP", "source_id": "g", "instance_id": "3"}


def test_tags_change_live_and_ids_keep_their_defaults(sink: Any, clock: Any) -> None:
    config = LogConfig(guid="g", index=3, tags={"source_id": "app", "instance_id": "7", "x": "1"})
    streamer = LogStreamer(sink, config, clock=clock)
    output = streamer.stream("APP")
    output.stdout(b"before\n")
    streamer.update_tags({"x": "2", "origin": "mine"})
    output.stdout(b"after\n")
    before, after = sink.lines
    assert (before.source_id, before.instance_id, before.tags["x"]) == ("app", "7", "1")
    assert (after.source_id, after.instance_id) == ("g", "3")
    assert after.tags == {
        "origin": "mine", "source_type": "APP", "x": "2", "source_id": "g", "instance_id": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "wanted", "source"),
    [
        (LogConfig(guid="g", source_name="CELL"), "APP", "APP"),
        (LogConfig(guid="g", source_name="CELL"), "", "CELL"),
        (LogConfig(guid="g"), "", "LOG"),
        (LogConfig(source_name="CELL"), "APP", "LOG"),
    ],
)
def test_effective_source(sink: Any, config: Any, wanted: Any, source: Any) -> None:
    assert LogStreamer(sink, config).source_name(wanted) == source


def test_without_log_guid_steps_are_silent_but_the_cell_is_not(sink: Any, clock: Any) -> None:
    streamer = LogStreamer(sink, LogConfig(), clock=clock)
    output = streamer.stream("APP")
    output.stdout(b"lost\n")
    output.flush()
    streamer.direct("Cell c destroying container for instance g")
    (line,) = sink.lines
    assert (line.source_id, line.instance_id, line.source_type) == ("", "0", "LOG")


def test_every_step_has_buffers_of_its_own(sink: Any, clock: Any) -> None:
    streamer = LogStreamer(sink, LogConfig(guid="g"), clock=clock)
    one, two = streamer.stream("ONE"), streamer.stream("TWO")
    one.stdout(b"a")
    two.stdout(b"b\n")
    two.stderr(b"c")
    streamer.flush()
    assert {(line.source_type, line.payload) for line in sink.lines} == {
        ("TWO", b"b"), ("ONE", b"a"), ("TWO", b"c"),
    }  # fmt: skip


def test_the_limit_is_the_container_s_and_is_reported_as_output_of_the_refused_source(
    sink: Any, clock: Any
) -> None:
    reports: list[int] = []
    streamer = LogStreamer(
        sink, LogConfig(guid="g"), 10, 0, clock, on_limit_exceeded=lambda: reports.append(1)
    )
    streamer.stream("ONE").stdout(b"123456\n")
    streamer.stream("TWO").stderr(b"123456\nmuted\n")
    streamer.direct("Cell c stopping instance g")
    assert [(line.stream, line.source_type, line.payload) for line in sink.lines] == [
        (Stream.OUT, "ONE", b"123456"),
        (Stream.OUT, "TWO", BYTES.encode()),
        (Stream.OUT, "LOG", b"Cell c stopping instance g"),
    ]
    assert (len(reports), streamer.limiter.dropped_lines) == (1, 2)


@pytest.mark.parametrize(
    ("limit", "lines"),
    [(10, [b"x" * 10, BYTES.encode(), b"half a lineExit status 1"]), (0, [])],
)
def test_what_the_cell_says_about_an_app_is_not_limited_unless_nothing_may_be_logged(
    sink: Any, clock: Any, limit: int, lines: list[bytes]
) -> None:
    output = LogStreamer(sink, LogConfig(guid="g"), limit, 0, clock).stream("APP")
    output.stdout(b"x" * 10 + b"\nmuted\nalso muted\nhalf a line")
    output.write("Exit status 1")
    output.stdout(b"still muted\n")
    output.write("")
    output.flush()
    assert [line.payload for line in sink.lines] == lines


def test_the_cell_s_word_goes_to_the_stream_it_is_for(sink: Any, clock: Any) -> None:
    output = LogStreamer(sink, LogConfig(guid="g"), clock=clock).stream("APP")
    output.write("one\ntwo\n", Stream.ERR)
    assert [(line.payload, line.stream) for line in sink.lines] == [
        (b"one", Stream.ERR), (b"two", Stream.ERR),
    ]  # fmt: skip


def test_what_a_limit_cost_is_told_once_it_is_over(sink: Any, clock: Any) -> None:
    told: list[tuple[int, int]] = []
    streamer = LogStreamer(
        sink, LogConfig(guid="g"), 10, 0, clock, on_dropped=lambda lines, size: told.append((lines, size))
    )
    output = streamer.stream("APP")
    output.stdout(b"12345678\n123\nmuted\n")
    assert told == []
    clock.now += 1
    output.stdout(b"1\n2\n")
    assert told == [(2, 8)]
    output.stdout(b"x" * 11)
    streamer.flush()
    streamer.flush()
    assert told == [(2, 8), (1, 11)]
    assert [line.payload for line in sink.lines] == [b"12345678", BYTES.encode(), b"1", b"2", BYTES.encode()]


def test_lines_of_one_read_keep_their_order_when_sorted_by_time(sink: Any, clock: Any) -> None:
    output = LogStreamer(sink, LogConfig(guid="g"), clock=clock).stream("APP")
    output.stdout(b"".join(b"%d\n" % number for number in range(100)))
    output.stdout(b"100\n")
    times = [line.time_ns for line in sink.lines]
    assert len(times) == 101
    assert all(before < after for before, after in pairwise(times))


def test_the_lines_of_a_mute_app_are_counted_and_not_made(
    sink: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 KiB of one-byte lines cost a mute app's cell a count, not 30,000 lines."""
    streamer = LogStreamer(sink, LogConfig(guid="g"), 10, 0, clock)
    output = streamer.stream("APP")
    output.stdout(b"too many bytes\n" + b"a\n" * 100)
    assert streamer.limiter.dropped_lines == 101
    admitted: list[int] = []
    monkeypatch.setattr(RateLimiter, "admit", lambda self, size: admitted.append(size))
    output.stdout(b"b\n\n\r\nccc\nhalf" * 1000)
    assert (admitted, streamer.limiter.dropped_lines) == ([], 101 + 2000)
    assert streamer.limiter.dropped_bytes == 14 + 100 + 1000 * 1 + 1000 * 3 + 999 * 4
    assert len(sink.lines) == 1


def test_the_cell_s_own_text_is_made_of_lines_too(sink: Any, clock: Any) -> None:
    """A reason with line ends in it is several lines in every sink, and any text can be logged."""
    config = LogConfig(guid="g\ud800", source_name="C\udfff", tags={"\ud800": "\ud800"})
    streamer = LogStreamer(sink, config, clock=clock)
    streamer.direct("failed: no\r\nsuch\n\nimage \ud800")
    streamer.stream("A\ud800").write("\ud800")
    assert [line.payload for line in sink.lines] == [b"failed: no", b"such", b"image ?", b"?"]
    assert {line.source_type for line in sink.lines} == {"C?", "A?"}
    assert sink.lines[0].source_id == "g?"
    for line in sink.lines:
        for encode in (JsonLines(), each_alone(JournalEntries()), each_alone(SyslogMessages())):
            assert list(encode(LineBatch.of(line)))


def line(text: str) -> LogLine:
    return LogLine(
        payload=text.encode(),
        stream=Stream.OUT,
        source_id="g",
        instance_id="0",
        source_type="APP",
        time_ns=5,
        tags={"a": "b"},
    )


def test_fan_out() -> None:
    sinks = [Kept(), Kept()]
    FanOut(sinks).emit(line("x"))
    assert [len(sink.lines) for sink in sinks] == [1, 1]


async def test_the_ring_keeps_the_last_lines_and_tells_listeners() -> None:
    ring = RingSink(2)
    for text in ("a", "b", "c"):
        ring.emit(line(text))
    assert [kept.payload for kept in ring.lines()] == [b"b", b"c"]
    with ring.subscribe(replay=True) as lines:
        ring.emit(line("d"))
        assert [(await anext(lines)).payload for _ in range(3)] == [LOST_LINES % 1, b"c", b"d"]

        async def next_line() -> LogLine:
            return await anext(lines)

        waiting = asyncio.create_task(next_line())
        await asyncio.sleep(0)
        ring.emit(line("e"))
        assert (await waiting).payload == b"e"


async def test_a_ring_keeps_the_end_of_a_large_batch_and_listeners_learn_what_they_lost() -> None:
    ring = RingSink(3)
    texts = [b"%d" % number for number in range(10)]
    with ring.subscribe() as lines:
        ring.emit(line("first"))
        ring.emit_batch(LineBatch(line("0"), texts, range(10)))
        seen = [await anext(lines) for _ in range(4)]
    assert [kept.payload for kept in ring.lines()] == texts[-3:]
    assert [kept.time_ns for kept in ring.lines()] == [7, 8, 9]
    assert [kept.payload for kept in seen] == [LOST_LINES % 8, *texts[-3:]]


async def test_a_ring_is_bounded_in_bytes_and_a_slow_listener_learns_what_it_lost() -> None:
    """A thousand lines of 60 KiB do not stay in memory."""
    ring = RingSink(1000, size_limit=10_000)
    with ring.subscribe() as lines:
        for number in range(9):
            ring.emit(line(f"{number}" * 4000))
        assert [kept.payload[:1] for kept in ring.lines()] == [b"7", b"8"]
        seen = [await anext(lines) for _ in range(3)]
    assert seen[0].payload == LOST_LINES % 7
    assert [kept.payload[:1] for kept in seen[1:]] == [b"7", b"8"]
    ring.emit(line("x" * 20_000))
    assert len(ring.lines()) == 1
