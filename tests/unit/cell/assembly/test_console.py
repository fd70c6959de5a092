"""App logs on the terminal: writers never wait, and dropped lines are counted."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import socket
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cell.assembly.console import Console, ConsoleSink
from executor.logs.api import LogLine, Stream
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

ROOM = 8192
"""What the tests' pipes and buffers hold, in bytes."""


def line(text: str, stream: Stream = Stream.OUT, instance: str = "0") -> LogLine:
    return LogLine(text.encode(), stream, "web", instance, "APP", 1)


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def pipe(closing: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    for end in (reading, writing):
        closing.callback(os.close, end)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, ROOM)
    return reading, writing


def terminal(closing: ExitStack) -> tuple[int, int]:
    reading, writing = pty.openpty()
    for end in (reading, writing):
        closing.callback(os.close, end)
    tty.setraw(writing)
    return reading, writing


def connection(closing: ExitStack) -> tuple[int, int]:
    reading, writing = (closing.enter_context(end) for end in socket.socketpair())
    return reading.fileno(), writing.fileno()


def read_all(reading: int) -> bytes:
    """What is there to read."""
    os.set_blocking(reading, False)
    found = b""
    try:
        while piece := os.read(reading, 1 << 16):
            found += piece
    except BlockingIOError:
        pass
    return found


KINDS = [pipe, terminal, connection]
Opened = Callable[[ExitStack], tuple[int, int]]


@pytest.mark.parametrize("opened", KINDS)
async def test_lines_come_with_who_wrote_them(opened: Opened, closing: ExitStack) -> None:
    reading, writing = opened(closing)
    console = Console(writing)
    async with console.running():
        console.print("up\nat last")
        console.emit(line("hello"))
        console.emit(line("oh", Stream.ERR, "1"))
    shown = sorted(read_all(reading).decode().splitlines())
    assert shown == ["[web/0 APP] OUT hello", "[web/1 APP] ERR oh", "at last", "up"]
    assert (console.delivered, console.dropped) == (4, 0)


@pytest.mark.parametrize("opened", KINDS)
async def test_who_does_not_read_stops_nobody_and_what_is_lost_is_counted(
    opened: Opened, closing: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = opened(closing)
    console = Console(writing, capacity=ROOM)
    count = 20_000
    async with asyncio.timeout(PATIENCE_S):  # includes the second that the end waits
        async with console.running():
            for number in range(count):
                console.emit(line(f"{number:0100}"))
                if not number % 100:
                    await asyncio.sleep(0)
    complete = read_all(reading).decode().count("\n")
    assert 0 < complete < count
    assert (console.delivered, console.dropped) == (complete, count - complete)
    told = [vars(record)["data"] for record in caplog.records if record.msg == "log-sink.dropped"]
    assert sum(data["count"] for data in told) == told[-1]["total"] == count - complete


@pytest.mark.parametrize("opened", KINDS)
async def test_who_reads_late_gets_everything_in_order(opened: Opened, closing: ExitStack) -> None:
    reading, writing = opened(closing)
    os.set_blocking(reading, False)
    console = Console(writing)
    found = b""
    async with asyncio.timeout(PATIENCE_S), console.running():
        for number in range(2_000):
            console.emit(line(f"{number:0100}"))
        while found.count(b"\n") < 2_000:
            found += read_all(reading)
            await asyncio.sleep(0)
    assert [int(text.rpartition(b" ")[2]) for text in found.splitlines()] == list(range(2_000))
    assert console.dropped == 0


async def test_a_terminal_that_was_stopped_goes_on(closing: ExitStack) -> None:
    reading, writing = terminal(closing)
    os.set_blocking(reading, False)
    termios.tcflow(writing, termios.TCOOFF)
    console = Console(writing)
    async with asyncio.timeout(PATIENCE_S), console.running():
        console.emit(line("first"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert read_all(reading) == b""
        termios.tcflow(writing, termios.TCOON)
        found = b""
        while b"first" not in found:
            found += read_all(reading)
            await asyncio.sleep(0)
    assert console.dropped == 0


async def test_a_reader_who_has_gone_costs_its_lines_and_nothing_else(closing: ExitStack) -> None:
    reading, writing = os.pipe()
    closing.callback(os.close, writing)
    os.close(reading)
    console = Console(writing)
    async with console.running():
        console.emit(line("nobody"))
    assert (console.delivered, console.dropped) == (0, 1)


async def test_a_file_gets_its_lines_at_its_end(tmp_path: Path) -> None:
    target = tmp_path / "dev.log"
    target.write_text("before\n")
    with target.open("a") as file:
        console = Console(file.fileno())
        async with console.running():
            console.emit(line("after"))
    assert target.read_text() == "before\n[web/0 APP] OUT after\n"


async def test_what_it_was_given_stays_as_it_was(closing: ExitStack) -> None:
    _, writing = pipe(closing)
    console = Console(writing)
    async with console.running():
        console.emit(line("x"))
    assert os.get_blocking(writing)


async def test_colours(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as file:
        console = Console(file.fileno(), colour=True)
        async with console.running():
            console.emit(line("good"))
            console.emit(line("bad", Stream.ERR))
        assert (tmp_path / "out").read_text() == (
            "\x1b[2m[web/0 APP] OUT\x1b[0m good\n\x1b[2m[web/0 APP] ERR\x1b[0m \x1b[31mbad\x1b[0m\n"
        )


def test_of_one_instance_the_source_alone_tells() -> None:
    out = io.StringIO()
    ConsoleSink(out).emit(line("\N{BULLET}"))
    assert out.getvalue() == "[APP] OUT \N{BULLET}\n"
