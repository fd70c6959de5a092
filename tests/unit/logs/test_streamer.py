"""Limits, labels and tags of a container's log: spec H.1 and H.2."""

from __future__ import annotations

import asyncio
import io
import json
import threading

import pytest

from executor.logs.api import LogLine, Stream
from executor.logs.rate import RateLimiter
from executor.logs.sinks import FanOut, JsonLinesSink, RingSink
from executor.logs.streamer import LogStreamer
from executor.model import LogConfig

pytestmark = pytest.mark.unit


class HeldClock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


class Kept:
    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def emit(self, line: LogLine) -> None:
        self.lines.append(line)


@pytest.fixture
def clock():
    return HeldClock()


@pytest.fixture
def sink():
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
def test_limits(clock, limits, script):
    """script: (s since the beginning, bytes of the line, refusal)."""
    limiter = RateLimiter(*limits, clock)
    for at, size, refusal in script:
        clock.now = 100.0 + at
        assert limiter.admit(size) == refusal
    dropped = [size for _, size, refusal in script if refusal is not None]
    accepted = [size for _, size, refusal in script if refusal is None]
    assert (limiter.dropped_lines, limiter.dropped_bytes) == (len(dropped), sum(dropped))
    assert limiter.accepted_bytes == sum(accepted)


def test_a_line_refused_for_lines_has_used_its_bytes(clock):
    limiter = RateLimiter(10, 1, clock)
    assert limiter.admit(1) is None
    assert "log-lines" in limiter.admit(9)
    clock.now += 1.05
    assert limiter.admit(10) is None


def test_a_line_with_all_its_labels(sink, clock):
    streamer = LogStreamer(sink, LogConfig(guid="g", index=3, source_name="CELL"), clock=clock)
    output = streamer.stream("APP")
    output.stdout(b"out\n")
    output.stderr(b"err\n")
    out, err = sink.lines
    assert (out.payload, out.stream, out.source_type) == (b"out", Stream.OUT, "APP")
    assert (err.payload, err.stream) == (b"err", Stream.ERR)
    assert (out.source_id, out.instance_id, out.time_ns) == ("g", "3", 100_000_000_000)
    assert out.tags == {"origin": "rep", "source_type": "APP", "source_id": "g", "instance_id": "3"}


def test_tags_change_live_and_ids_keep_their_defaults(sink, clock):
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
def test_effective_source(sink, config, wanted, source):
    assert LogStreamer(sink, config).source_name(wanted) == source


def test_without_log_guid_steps_are_silent_but_the_cell_is_not(sink, clock):
    streamer = LogStreamer(sink, LogConfig(), clock=clock)
    output = streamer.stream("APP")
    output.stdout(b"lost\n")
    output.flush()
    streamer.direct("Cell c destroying container for instance g")
    (line,) = sink.lines
    assert (line.source_id, line.instance_id, line.source_type) == ("", "0", "LOG")


def test_every_step_has_buffers_of_its_own(sink, clock):
    streamer = LogStreamer(sink, LogConfig(guid="g"), clock=clock)
    one, two = streamer.stream("ONE"), streamer.stream("TWO")
    one.stdout(b"a")
    two.stdout(b"b\n")
    two.stderr(b"c")
    streamer.flush()
    assert {(line.source_type, line.payload) for line in sink.lines} == {
        ("TWO", b"b"), ("ONE", b"a"), ("TWO", b"c"),
    }  # fmt: skip


def test_the_limit_is_the_container_s_and_is_reported_as_output_of_the_refused_source(sink, clock):
    reports = []
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


def test_fan_out():
    sinks = [Kept(), Kept()]
    FanOut(sinks).emit(line("x"))
    assert [len(sink.lines) for sink in sinks] == [1, 1]


async def test_json_lines_are_all_written_before_it_ends():
    file = io.BytesIO()
    sink = JsonLinesSink(file)
    sink.emit(line("one é"))
    writer = asyncio.create_task(sink.run())
    await asyncio.sleep(0)
    sink.emit(line("two"))
    writer.cancel()
    await asyncio.wait({writer})
    records = [json.loads(text) for text in file.getvalue().splitlines()]
    assert [record["message"] for record in records] == ["one é", "two"]
    assert records[0] == {
        "time_ns": 5, "source_id": "g", "instance_id": "0", "source_type": "APP", "stream": "OUT",
        "message": "one é", "tags": {"a": "b"},
    }  # fmt: skip


class StuckFile(io.BytesIO):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def write(self, data: bytes) -> int:
        self.entered.set()
        self.let_go.wait(10)
        return super().write(data)


async def test_a_file_that_takes_nothing_never_blocks_and_drops_are_counted():
    file = StuckFile()
    sink = JsonLinesSink(file, capacity=3)
    task = asyncio.create_task(sink.run())
    sink.emit(line("first"))
    await asyncio.to_thread(file.entered.wait, 10)
    for index in range(5):
        sink.emit(line(str(index)))
    assert sink.dropped == 2
    task.cancel()
    file.let_go.set()
    await asyncio.wait({task})
    assert [json.loads(text)["message"] for text in file.getvalue().splitlines()] == ["first", "0", "1", "2"]


async def test_the_ring_keeps_the_last_lines_and_tells_listeners():
    ring = RingSink(2)
    for text in ("a", "b", "c"):
        ring.emit(line(text))
    assert [kept.payload for kept in ring.lines()] == [b"b", b"c"]
    with ring.subscribe(replay=True) as lines:
        ring.emit(line("d"))
        assert [(await anext(lines)).payload for _ in range(2)] == [b"c", b"d"]
        waiting = asyncio.create_task(anext(lines))
        await asyncio.sleep(0)
        ring.emit(line("e"))
        assert (await waiting).payload == b"e"
