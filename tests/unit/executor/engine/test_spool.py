"""Spools keep what is not taken, within their bounds, whenever the agent is killed."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.engine import spool as spool_module
from executor.engine import spoolbudget
from executor.engine.output import FIFO_BYTES, OutputReader, OutputTurns
from executor.engine.spool import GIVE_BACK_BYTES, Delivery, Spool
from executor.engine.spoolfile import HEADER_BYTES
from executor.engine.spools import Spools
from tests.support.thorough import examples

pytestmark = pytest.mark.unit

PIPE_BYTES = 1 << 20


class Stream:
    """A FIFO of known content, and its spool in one life of the agent after the other."""

    def __init__(self, folder: Path, **bounds: int) -> None:
        self.folder = folder
        self.bounds = bounds
        self.content = b""
        self.fifo, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.spools = Spools(folder, **bounds)
        self.spool = self.spools.create("guid", "process", "out", b"{}")
        self.deliveries: list[Delivery] = []

    def write(self, data: bytes) -> None:
        assert os.write(self.writer, data) == len(data)
        self.content += data

    def read(self, size: int = PIPE_BYTES) -> bytes:
        """Read, and begin a delivery of the lines in it."""
        data = self.spool.read(self.fifo, size)
        end = self.spool.read_to
        assert data == self.content[end - len(data) : end]
        delivery = self.spool.deliver()
        delivery.end = end
        delivery.count(data.count(b"\n"))
        self.deliveries.append(delivery)
        return data

    def kill(self) -> None:
        """End the life without a word, and begin the next one."""
        os.close(os.open(self.spool.path, os.O_RDONLY))  # it is there
        self.deliveries.clear()
        self.spools = Spools(self.folder, **self.bounds)
        spool = self.spools.resume("guid", "process", "out")
        assert spool is not None
        self.spool = spool

    def close(self) -> None:
        os.close(self.fifo)
        os.close(self.writer)


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    made = Stream(tmp_path)
    yield made
    made.close()


@contextmanager
def streams(folder: Path, count: int, **bounds: int) -> Iterator[list[Stream]]:
    made = [Stream(folder / str(number), **bounds) for number in range(count)]
    yield made
    for each in made:
        each.close()


async def saved() -> None:
    await asyncio.sleep(0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 300)),
        st.tuples(st.just("read"), st.integers(1, 300)),
        st.tuples(st.just("release"), st.integers(0, 5)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_kill_at_any_place_loses_nothing_that_is_not_taken(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    async def live() -> None:
        stream = Stream(tmp_path_factory.mktemp("spool"))
        released = 0
        for step, number in steps:
            if step == "write":
                stream.write(os.urandom(number))
            elif step == "read" and stream.spool.read_to < len(stream.content):
                stream.read(number)
            elif step == "release" and number < len(stream.deliveries):
                stream.deliveries.pop(number).release()
                released = max(released, stream.spool.read_to - stream.spool.held + stream.spool.unread)
            elif step == "pause":
                await saved()
            elif step == "kill":
                stream.kill()
                assert stream.spool.read_to <= released
        begin = stream.spool.read_to
        rest = b""
        while begin + len(rest) < len(stream.content):
            rest += stream.read()
        assert rest == stream.content[begin:]
        stream.close()

    asyncio.run(live())


async def test_what_is_released_is_not_read_again(stream: Stream) -> None:
    for text in (b"one\n", b"two\n", b"three\n"):
        stream.write(text)
        stream.read()
    one, two, _ = stream.deliveries
    two.release()
    await saved()
    stream.kill()
    assert stream.read() == b"one\ntwo\nthree\n"  # the first was not taken
    one.release()


async def test_a_sink_that_is_behind_keeps_the_lines_for_itself_only(stream: Stream) -> None:
    stream.write(b"one\n")
    stream.read()
    (delivery,) = stream.deliveries
    for _ in ("fast", "slow"):
        delivery.hold()
    delivery.release()
    delivery.taken("fast", 3)
    delivery.release()
    await saved()
    stream.kill()
    assert stream.read() == b"one\n"
    (again,) = stream.deliveries
    assert (again.taken_before("fast"), again.taken_before("slow")) == (3, 0)
    assert again.name == delivery.name


async def test_the_oldest_beyond_the_bound_is_lost_with_the_agent_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with streams(tmp_path, 1, stream_bytes=1000) as (stream,):
        for number in range(100):
            stream.write(b"line %4d\n" % number)  # 10 bytes
            stream.read()
        assert stream.spool.held == 1000
        stream.write(b"x" * 495 + b"\n")
        stream.read()
        assert stream.spool.held <= 1000
        assert [record.message for record in caplog.records] == ["output-spool.full"]
        await saved()
        caplog.clear()
        stream.kill()
        assert lost(caplog) == [50]
        assert stream.read() == stream.content[500:]
        caplog.clear()
        stream.deliveries[0].release()
        await saved()
        stream.kill()
        assert lost(caplog) == []


async def test_lines_beyond_the_bound_that_are_delivered_are_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with streams(tmp_path, 1, stream_bytes=20) as (stream,):
        for text in (b"one 89012\n", b"two 89012\n", b"three 012\n", b"four 9012\n"):
            stream.write(text)
            stream.read()
        stream.deliveries[0].release()
        await saved()
        stream.kill()
        assert lost(caplog) == [1]
        assert stream.read() == b"three 012\nfour 9012\n"


async def test_beyond_the_bound_of_the_cell_the_largest_gives_way(tmp_path: Path) -> None:
    spools = Spools(tmp_path, cell_bytes=3000)
    small, large = (spools.create("guid", name, "out", b"{}") for name in ("small", "large"))
    for spool, size in ((small, 500), (large, 1000), (large, 1000), (large, 1000), (small, 500)):
        reading, writing = os.pipe()
        os.write(writing, b"x" * size)
        delivery_of(spool, spool.read(reading, size))
        os.close(reading)
        os.close(writing)
    assert (small.held, large.held) == (1000, 2000)


def delivery_of(spool: Spool, data: bytes) -> Delivery:
    delivery = spool.deliver()
    delivery.end = spool.read_to
    delivery.count(data.count(b"\n"))
    return delivery


async def test_space_of_what_is_taken_is_given_back(stream: Stream) -> None:
    for _ in range(3):
        stream.write(b"x" * GIVE_BACK_BYTES)
        while stream.spool.read_to < len(stream.content):
            stream.read()
        while len(stream.deliveries) > 1:
            stream.deliveries.pop(0).release()
        await saved()
    status = stream.spool.path.stat()
    assert status.st_size == HEADER_BYTES + 3 * GIVE_BACK_BYTES
    assert status.st_blocks * 512 < 2 * GIVE_BACK_BYTES


async def test_a_finished_spool_is_removed_once_all_of_it_is_taken(stream: Stream, tmp_path: Path) -> None:
    stream.write(b"last\n")
    stream.read()
    stream.spool.finish()
    await saved()
    assert stream.spool.path.exists()
    assert str(stream.spool.path) not in {file.path for file in psutil.Process().open_files()}
    stream.deliveries[0].release()
    await saved()
    assert not list(tmp_path.iterdir())


async def test_without_space_the_app_goes_on_and_only_a_kill_costs_output(
    stream: Stream, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.write(b"kept\n")
    assert stream.read() == b"kept\n"
    caplog.set_level(logging.INFO)
    with full_disk(HEADER_BYTES + 5):
        stream.write(b"in memory\n")
        assert stream.read() == b"in memory\n"
        await saved()
    monkeypatch.setattr(spool_module, "WORKS_AGAIN_S", 0.0)
    stream.write(b"kept again\n")
    assert stream.read() == b"kept again\n"
    messages = ["output-spool.unusable", "output-spool.full", "output-spool.works-again"]
    assert [record.message for record in caplog.records] == messages
    stream.kill()
    assert lost(caplog) == [2]
    assert stream.read() == b"kept again\n"


async def test_a_disk_at_its_limit_is_reported_once(stream: Stream, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with full_disk(HEADER_BYTES):
            stream.write(b"in memory\n")
            stream.read()
        stream.write(b"kept\n")
        stream.read()
    messages = [record.message for record in caplog.records]
    assert messages.count("output-spool.unusable") == 1


async def test_offsets_go_on_after_output_that_a_full_disk_did_not_take(
    stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the next lines would have the identity of lines that a sink has."""
    caplog.set_level(logging.INFO)
    with full_disk(HEADER_BYTES):
        stream.write(b"in memory\n")
        assert stream.read() == b"in memory\n"
        stream.kill()
    stream.write(b"later\n")
    assert stream.spool.read_to == stream.spool.resumed_at == len(b"in memory\n")
    assert stream.read() == b"later\n"
    assert stream.spool.read_to == len(stream.content)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond a size."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


async def test_a_file_that_is_no_spool_is_replaced(stream: Stream, caplog: pytest.LogCaptureFixture) -> None:
    stream.spool.path.write_bytes(b"x" * 10_000)
    assert Spools(stream.folder).resume("guid", "process", "out") is None
    assert [record.message for record in caplog.records] == ["output-spool.unreadable"]
    assert not stream.spool.path.exists()


async def test_files_are_the_agents_own(stream: Stream) -> None:
    assert stream.spool.path.stat().st_mode & 0o777 == 0o600
    assert stream.folder.stat().st_mode & 0o777 == stream.spool.path.parent.stat().st_mode & 0o777 == 0o700


async def test_leftovers_are_the_spools_that_nothing_uses(tmp_path: Path) -> None:
    with streams(tmp_path, 1) as (stream,):
        other = stream.spools.create("other", "process", "err", b"labels")
        names = (stream.spool.name, other.name)
        later = Spools(stream.folder)
        assert list(later.leftovers({"guid", "other"})) == []
        used = later.resume("guid", "process", "out")
        assert used is not None
        assert [(spool.name, labels) for spool, labels in later.leftovers()] == [(names[1], b"labels")]
        assert used.name == names[0]


def lost(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The numbers of lines reported as lost."""
    return [
        vars(record)["data"]["lines"]
        for record in caplog.records
        if record.message == "output-spool.lost" and record.levelno == logging.WARNING
    ]


async def test_a_fifo_with_a_spool_holds_a_mib_while_no_agent_reads(stream: Stream) -> None:
    fcntl.fcntl(stream.fifo, fcntl.F_SETPIPE_SZ, 65536)
    reader = OutputReader(os.dup(stream.fifo), ignore, OutputTurns(), "guid", stream.spool)
    assert fcntl.fcntl(stream.fifo, fcntl.F_GETPIPE_SZ) == FIFO_BYTES
    reader.detach()


def ignore(_: bytes) -> None:
    """Handles output."""


async def test_reading_waits_for_sinks_that_get_on_and_not_for_one_that_is_stuck(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink that is slower than an app costs the app time, not lines; a dead one costs it nothing."""
    monkeypatch.setattr(spoolbudget, "LAG_BYTES", 1000)
    monkeypatch.setattr(spoolbudget, "LAG_STREAM_BYTES", 10)
    monkeypatch.setattr(spoolbudget, "STUCK_S", 0.2)

    def read() -> None:
        stream.write(b"x" * 600)
        stream.read()

    read()
    assert not stream.spool.lags
    read()
    assert stream.spool.lags
    looked = asyncio.Event()
    stream.spool.when_taken(looked.set)
    stream.deliveries[0].release()
    assert looked.is_set()
    assert not stream.spool.lags
    read()
    assert stream.spool.lags
    stuck = asyncio.Event()
    stream.spool.when_taken(stuck.set)
    async with asyncio.timeout(10):
        await stuck.wait()
    assert not stream.spool.lags
