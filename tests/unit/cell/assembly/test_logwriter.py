"""The component log: it never waits for its reader, keeps its order, and counts dropped lines."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cell.assembly.lagerlog import LagerFormatter
from cell.assembly.logwriter import DROPPED, LogWriter
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

LONG = "x" * 600
LINES = 2000


class Pipe:
    """Two descriptors, each closed once."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def close(self, *ends: int) -> None:
        for end in ends:
            if end in self._open:
                self._open.remove(end)
                os.close(end)


@contextmanager
def pipe() -> Iterator[Pipe]:
    ends = Pipe()
    try:
        yield ends
    finally:
        ends.close(ends.reader, ends.writer)


@contextmanager
def logging_to(descriptor: int, **settings: Any) -> Iterator[tuple[logging.Logger, LogWriter]]:
    """A logger of its own; the writer is closed at the end."""
    writer = LogWriter(descriptor, **settings)
    writer.setFormatter(LagerFormatter("rep"))
    logger = logging.Logger("component")
    logger.addHandler(writer)
    try:
        yield logger, writer
    finally:
        writer.close()


class Reader(threading.Thread):
    """Collects what comes out of a pipe until its end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.data = b""
        self.start()

    def run(self) -> None:
        while piece := os.read(self._descriptor, 1 << 16):
            self.data += piece

    def entries(self) -> list[dict[str, Any]]:
        self.join(PATIENCE_S)
        return [json.loads(line) for line in self.data.splitlines()]


def numbers(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["data"]["number"] for entry in entries if "number" in entry["data"]]


def test_a_stopped_reader_costs_lines_and_no_time() -> None:
    """A reader of stdout that stops neither blocks the caller nor hides how many lines it costs."""
    with pipe() as ends:
        with logging_to(ends.writer, capacity=200_000) as (logger, handler):
            for number in range(LINES):
                logger.warning("tick", extra={"data": {"number": number, "text": LONG}})
            assert handler.dropped > LINES // 2
            reading = Reader(ends.reader)
            handler.flush()
            logger.warning("tick", extra={"data": {"number": LINES}})
        ends.close(ends.writer)
        entries = reading.entries()
    expected = 0
    for entry in entries:  # every gap has a line that counts it, in its place
        if entry["message"] == f"rep.{DROPPED}":
            expected += entry["data"]["lines"]
        else:
            assert entry["data"]["number"] == expected
            expected += 1
    assert expected == LINES + 1


async def test_the_event_loop_goes_on_while_nobody_reads() -> None:
    """The loop takes its turns although the pipe has been full for long."""
    with pipe() as ends, logging_to(ends.writer, capacity=100_000, close_limit_s=0.05) as (logger, handler):
        turns = 0
        async with asyncio.timeout(PATIENCE_S):
            while not handler.dropped:
                logger.warning("tick", extra={"data": {"text": LONG}})
                turns += 1
                await asyncio.sleep(0)
        assert turns > 10


def test_a_close_waits_a_bounded_time() -> None:
    with pipe() as ends:
        with logging_to(ends.writer, close_limit_s=0.05) as (logger, _):
            for _ in range(LINES):
                logger.warning("tick", extra={"data": {"text": LONG}})
        os.set_blocking(ends.reader, False)
        assert len(os.read(ends.reader, 1 << 20)) >= 4096


def test_everything_is_written_before_the_end() -> None:
    with pipe() as ends:
        reading = Reader(ends.reader)
        with logging_to(ends.writer) as (logger, handler):
            threads = [threading.Thread(target=_count, args=(logger, first)) for first in (0, LINES)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        ends.close(ends.writer)
        found = numbers(reading.entries())
    assert handler.dropped == 0
    for first in (0, LINES):
        assert [number for number in found if first <= number < first + LINES] == list(
            range(first, first + LINES)
        )


def _count(logger: logging.Logger, first: int) -> None:
    for number in range(first, first + LINES):
        logger.warning("tick", extra={"data": {"number": number}})


def test_a_reader_that_is_gone() -> None:
    """A closed pipe loses lines, ends nothing and keeps no thread busy."""
    with pipe() as ends:
        ends.close(ends.reader)
        with logging_to(ends.writer) as (logger, handler):
            for _ in range(3):
                logger.warning("tick")
                handler.flush()
            assert handler.dropped == 3


def test_a_full_disk_that_has_room_again(tmp_path: Path) -> None:
    """Lines that a descriptor refuses are counted, and the log continues once it accepts lines again."""
    full = os.open("/dev/full", os.O_WRONLY)
    file = tmp_path / "log"
    with logging_to(full) as (logger, handler):
        logger.warning("lost", extra={"data": {"number": 1}})
        handler.flush()
        with file.open("wb") as good:
            os.dup2(good.fileno(), handler._descriptor)
        logger.warning("kept", extra={"data": {"number": 2}})
    os.close(full)
    lost, kept = map(json.loads, file.read_text().splitlines())
    assert (lost["message"], lost["data"]) == (f"rep.{DROPPED}", {"lines": 1})
    assert kept["data"] == {"number": 2}


def test_a_descriptor_that_somebody_made_non_blocking() -> None:
    with pipe() as ends:
        fcntl.fcntl(ends.writer, fcntl.F_SETFL, os.O_NONBLOCK)
        with logging_to(ends.writer) as (logger, handler):
            for number in range(500):
                logger.warning("tick", extra={"data": {"number": number, "text": LONG}})
            reading = Reader(ends.reader)
        ends.close(ends.writer)
        assert numbers(reading.entries()) == list(range(500))
        assert handler.dropped == 0


def test_the_owner_of_the_descriptor_may_close_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file, logging_to(file.fileno()) as (logger, _):
        file.close()
        with (tmp_path / "other").open("w"):
            logger.warning("tick")
    assert json.loads((tmp_path / "log").read_text())["message"] == "rep.tick"
    assert (tmp_path / "other").read_text() == ""


@pytest.mark.parametrize("text", ["\ud800", "x" * 100_000, "\0\x1b[2J"])
def test_texts_that_no_line_can_hold_as_they_are(tmp_path: Path, text: str) -> None:
    with (tmp_path / "log").open("w") as file, logging_to(file.fileno()) as (logger, _):
        logger.warning(text, extra={"data": {"text": text}})
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["source"] == "rep"


SCRIPT = """
import logging, sys
from cell.assembly import lagerlog
lagerlog.install(sys.stdout, source="rep")
for number in range(3000):
    logging.getLogger("x").warning("tick", extra={"data": {"text": "x" * 600}})
"""


def test_a_process_ends_although_nobody_reads_its_log() -> None:
    """`cell rep` with its log on a stopped pipe ends; what the pipe does not take in time is lost."""
    with pipe() as ends:
        process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=ends.writer, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, err) == (0, b"")
        ends.close(ends.writer)
        reading = Reader(ends.reader)
        reading.join(PATIENCE_S)
        assert reading.data.startswith(b"{")


def test_a_process_writes_all_when_somebody_reads() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.count(b"\n") == 3000
