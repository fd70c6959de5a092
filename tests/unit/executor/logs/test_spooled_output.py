"""Output of durable processes over the lives of an agent: what each sink gets, and the identity of a line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.engine.readers import OutputReaders
from executor.engine.spools import Spools
from executor.logs.api import LineBatch, LogLine, LogSink
from executor.logs.files import END_BYTES, JsonLines, recover_end
from executor.logs.journald import JournalEntries
from executor.logs.leftovers import LeftoverOutput
from executor.logs.loggregator_envelopes import envelope
from executor.logs.shipper import LineShipper, each_alone
from executor.logs.sinks import FanOut
from executor.logs.sinkset import SinkSet
from executor.logs.streamer import LogStreamer
from executor.logs.syslog import SyslogMessages
from executor.logs.targets import open_target
from executor.model import LogConfig
from tests.support.waiting import until
from tests.unit.executor.logs.conftest import ScriptedDestination

pytestmark = pytest.mark.unit

PAYLOADS = each_alone(lambda line: line.payload)


class Kept:
    """A sink in memory. held: whether it never delivers."""

    def __init__(self, *, held: bool = False) -> None:
        self.lines: list[LogLine] = []
        self._held = held

    def emit(self, line: LogLine) -> None:
        self.lines.append(line)
        if self._held and line.delivery is not None:
            line.delivery.hold()

    @property
    def payloads(self) -> list[bytes]:
        return [line.payload for line in self.lines]


class App:
    """A process that writes to two FIFOs, in one life of the agent after the other.

    It has both ends of the FIFOs, as the parent of a process has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: list[int] = []
        self.spools = Spools(folder)
        for name in ("out", "err"):
            os.mkfifo(folder / name)

    def begin(self, sink: LogSink, bytes_per_second: int = -1) -> None:
        """Begin a life: the first one starts the process, the others adopt it."""
        self.spools = Spools(self.folder / "spool")
        self.streamer = LogStreamer(
            sink, LogConfig(guid="app", index=3, tags={"a": "b"}), bytes_per_second, origin="rep"
        )
        self.output = self.streamer.stream("APP")
        fifos = [os.open(self.folder / name, os.O_RDONLY | os.O_NONBLOCK) for name in ("out", "err")]
        self.readers = OutputReaders(self.spools).resume(
            "guid", fifos, (self.output.stdout, self.output.stderr), "process"
        )
        if not self.writers:
            self.writers = [os.open(self.folder / name, os.O_RDWR) for name in ("out", "err")]

    async def write(self, data: bytes) -> None:
        """Write to standard output; returns when the agent has read it."""
        os.write(self.writers[0], data)
        await self.handled()

    async def handled(self) -> None:
        for reader in self.readers:
            done = asyncio.Event()
            reader.drain(done.set)
            await done.wait()

    def leave(self) -> None:
        """End a life in order: its sinks may go on for a while."""
        for reader in self.readers:
            reader.detach()

    async def end(self) -> None:
        """The process ends."""
        while self.writers:
            os.close(self.writers.pop())
        await until(lambda: all(reader.closed for reader in self.readers))
        self.output.flush()
        await asyncio.sleep(0)

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.folder / "spool").rglob("*") if path.is_file()]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    made = App(tmp_path)
    yield made
    for writer in made.writers:
        os.close(writer)


async def test_a_line_that_is_split_by_a_restart_is_one_line(app: App) -> None:
    first, second = Kept(), Kept()
    app.begin(first)
    await app.write(b"one\ntwo, and")
    app.leave()
    app.output.flush()
    app.streamer.flush()
    os.write(app.writers[0], b" the rest\nthree\n")
    app.begin(second)
    await app.handled()
    assert first.payloads == [b"one"]
    assert second.payloads == [b"two, and the rest", b"three"]
    assert [line.offset for line in second.lines] == [21, 27]
    await app.end()
    assert not app.files


async def test_the_cell_s_own_text_ends_the_last_line(app: App) -> None:
    """As without a spool: the exit status follows an incomplete line, and is no line of the process."""
    sink = Kept()
    app.begin(sink)
    await app.write(b"no line end")
    await app.end()
    assert app.files == []
    assert sink.payloads == [b"no line end"]
    app.begin(again := Kept())
    app.writers = [os.open(app.folder / name, os.O_RDWR) for name in ("out", "err")]
    await app.write(b"killed: ")
    app.output.write("Exit status 1\nnext")
    assert again.payloads == [b"killed: Exit status 1", b"next"]
    assert [(line.offset, line.delivery is None) for line in again.lines] == [(8, False), (0, True)]


async def test_each_sink_goes_on_where_it_was(app: App, destination: Any) -> None:
    """One sink took everything, one nothing, and they get what they miss."""
    destination.gate.clear()
    behind = LineShipper("behind", PAYLOADS, destination, close_limit_s=0.01)
    ahead = open_target(f"file:{app.folder / 'ahead.log'}")
    async with ahead.running(), behind.running():
        app.begin(FanOut([ahead, behind]))
        await app.write(b"one\n")
        await until(lambda: ahead.delivered == 1)
        await app.write(b"two\n")
        app.leave()
    assert (ahead.delivered, behind.dropped) == (2, 0)
    (app.folder / "ahead.log").rename(app.folder / "rotated.log")

    destination.gate.set()
    behind = LineShipper("behind", PAYLOADS, destination)
    ahead = open_target(f"file:{app.folder / 'ahead.log'}")
    async with ahead.running(), behind.running():
        app.begin(FanOut([ahead, behind]))
        await app.write(b"three\n")
        await app.end()
    assert destination.payloads == [b"one", b"two", b"three"]
    assert messages(app.folder / "ahead.log") == ["three"]
    assert app.files == []


async def test_a_kill_while_sinks_change_loses_no_line(app: App) -> None:
    """The removed sink does not deliver, and the added one has begun to get lines."""
    destinations: dict[str, ScriptedDestination] = {}

    def opened(target: str) -> LineShipper:
        destinations[target] = ScriptedDestination()
        return LineShipper(target, PAYLOADS, destinations[target], close_limit_s=0.1)

    async with (sinks := SinkSet(opened)).running(["removed"]):
        app.begin(sinks)
        destinations["removed"].gate.clear()
        await app.write(b"one\n")
        await destinations["removed"].entered.wait()
        changing = asyncio.create_task(sinks.change(["added"]))
        await until(lambda: "added" in destinations)
        await app.write(b"two\n")
        await asyncio.sleep(0)
        shutil.copytree(app.folder / "spool", app.folder / "killed")
        app.leave()
        await changing
    shutil.rmtree(app.folder / "spool")
    (app.folder / "killed").rename(app.folder / "spool")
    async with (sinks := SinkSet(opened)).running(["added"]):
        app.begin(sinks)
        await app.write(b"three\n")
        await app.end()
    assert destinations["added"].payloads == [b"one", b"two", b"three"]


async def test_a_file_that_has_more_than_the_spool_gets_the_next_lines(app: App) -> None:
    """A full disk took neither the output nor how far it had come, and the cell was killed."""
    path = app.folder / "app.log"
    async with (sink := open_target(f"file:{path}")).running():
        app.begin(sink)
        await app.write(b"one\n")
        await until(lambda: sink.delivered == 1)
        app.leave()
    (name,) = {json.loads(text)["output"] for text in path.read_text().splitlines()}
    with path.open("ab") as file:
        file.write(line(name, 1000, "from memory"))
    async with (sink := open_target(f"file:{path}")).running():
        app.begin(sink)
        await app.write(b"two\n")
        await app.end()
    assert messages(path) == ["one", "from memory", "two"]


async def test_lines_that_a_sink_drops_are_not_sent_again(app: App, destination: Any) -> None:
    destination.gate.clear()
    full = LineShipper("full", PAYLOADS, destination, capacity=1, close_limit_s=0.01)
    async with full.running():
        app.begin(full)
        await app.write(b"one\ntwo\n")
        assert full.dropped == 2
        await asyncio.sleep(0)
        app.leave()
    app.begin(later := Kept())
    await app.write(b"three\n")
    assert later.payloads == [b"three"]


async def test_lines_of_a_muted_app_are_not_sent_again(app: App) -> None:
    app.begin(first := Kept(), bytes_per_second=4)
    await app.write(b"one\ntwo\nthree\n")
    await app.write(b"four\nfi")
    await asyncio.sleep(0)
    app.leave()
    app.begin(later := Kept())
    await app.write(b"ve\n")
    assert first.payloads[0] == b"one"
    assert b"exceeded log rate limit" in first.payloads[1]
    assert len(first.payloads) == 2
    assert later.payloads == [b"five"]


async def test_output_of_an_ended_process_is_delivered_later_with_its_labels(app: App) -> None:
    held, later = Kept(held=True), Kept()
    app.begin(held)
    await app.write(b"one\nlast words")
    await app.end()
    spools = Spools(app.folder / "spool")
    leftovers = LeftoverOutput(spools=spools, sink=later, live=set)
    await leftovers.deliver({"guid"})
    assert later.lines == []
    async with leftovers.running():
        await until(lambda: len(later.lines) == 2)
        await asyncio.sleep(0)
    assert [line._replace(time_ns=0, delivery=None) for line in later.lines] == [
        line._replace(time_ns=0, delivery=None) for line in held.lines
    ]
    assert [line.delivery and line.delivery.name for line in later.lines] == [
        line.delivery and line.delivery.name for line in held.lines
    ]
    assert app.files == []


async def test_output_of_a_process_that_ended_before_its_adoption_comes_first(app: App) -> None:
    app.begin(Kept(held=True))
    await app.write(b"one\ntwo\n")
    await app.end()
    later = Kept()
    output = LogStreamer(later, LogConfig(guid="app")).stream("APP")
    readers = OutputReaders(Spools(app.folder / "spool"))
    await readers.finish("guid", (output.stdout, output.stderr), "process")
    output.write("Exit status 0")
    assert later.payloads == [b"one", b"two", b"Exit status 0"]


async def test_without_a_spool_output_goes_on(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """The state folder cannot be written to."""
    (app.folder / "spool").write_text("no folder")
    app.begin(sink := Kept())
    await app.write(b"one\n")
    assert sink.payloads == [b"one"]
    assert {record.message for record in caplog.records} == {"output-spool.unusable"}


async def test_every_form_of_a_line_says_which_it_is(app: App) -> None:
    app.begin(sink := Kept(held=True))
    await app.write(b"one\ntwo\n")
    _, two = sink.lines
    name = two.delivery.name if two.delivery else ""
    assert name.startswith("guid/process.")
    assert name.endswith(".out")
    first, _ = sink.lines
    ((encoded, _),) = JsonLines()(LineBatch(first, (b"one", b"two"), (1, 2), (3, 7)))
    records = [json.loads(text) for text in encoded.splitlines()]
    assert [(record["output"], record["offset"]) for record in records] == [(name, 3), (name, 7)]
    entry = JournalEntries()(two)
    assert f"CF_OUTPUT={name}\n".encode() in entry
    assert b"CF_OFFSET=7\n" in entry
    message = SyslogMessages("cell")(two).decode()
    assert " - [tags@47450 " in message
    assert message.endswith(f'"][output@47450 name="{name}" offset="7"] two')
    tags = envelope(two).tags
    assert (tags["output"], tags["output_offset"], tags["a"]) == (name, "7", "b")


def messages(path: Path) -> list[str]:
    return [json.loads(text)["message"] for text in path.read_text().splitlines()]


def line(name: str, offset: int, message: str = "x") -> bytes:
    text = {"time_ns": 1, "offset": offset, "output": name, "source_id": "s", "message": message}
    return json.dumps(text, separators=(",", ":")).encode() + b"\n"


def test_a_file_says_how_far_each_stream_has_come(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    assert recover_end(path) == {}
    path.write_bytes(line("a", 1) + line("b", 5) + b'{"time_ns":1,"message":"m"}\n' + line("a", 9))
    forged = line("c", 3, message='\n{"time_ns":1,"offset":99,"output":"a"').replace(b"\\\\n", b"\\n")
    with path.open("ab") as file:
        file.write(forged)
    assert recover_end(path) == {"a": 9, "b": 5, "c": 3}


@pytest.mark.parametrize("cut", [1, 20, len(line("a", 2)) - 1])
def test_the_torn_last_line_of_a_file_goes(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(line("a", 1) + line("a", 2)[:cut])
    assert recover_end(path) == {"a": 1}
    assert path.read_bytes() == line("a", 1)


def test_only_the_end_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(line("old", 1) + b"x" * END_BYTES + b"\n" + line("new", 1))
    assert recover_end(path) == {"new": 1}
