"""What an app writes is bounded in bytes and time, and parsed strictly, wherever the cell reads it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executor.engine.fifos import STATUS_LIMIT, ProcessFifos, StatusReader, StatusSpoiled
from executor.engine.output import OutputReader, OutputTurns
from executor.engine.processes import DockerProcess

PIPE_BYTES = 1 << 20
"""The most that a process without privileges may make of a pipe."""


@dataclass
class Ended:
    """A process that has just ended, and what it may have written into its own FIFOs before."""

    fifos: ProcessFifos
    directory: Path
    parent: subprocess.Popen[bytes]
    output: bytearray = field(default_factory=bytearray)
    turns: list[int] = field(default_factory=list)
    writers: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, data: bytes) -> None:
        fd = self.writers[name] = os.open(self.directory / name, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        assert os.write(fd, data) == len(data)

    def process(self, handler: Callable[[bytes], None] | None = None) -> DockerProcess:
        """Watch it, as the executor does; its parent has ended."""
        take = handler or self._take
        fifos = self.fifos
        turns = OutputTurns()
        readers = (
            OutputReader(fifos.take("out"), take, turns, "guid"),
            OutputReader(fifos.take("err"), take, turns, "guid"),
        )
        process = DockerProcess(
            name="p1",
            pid=self.parent.pid,
            child_fd=-1,
            parent_fd=os.pidfd_open(self.parent.pid),
            status=StatusReader(fifos.take("status")),
            fifos=fifos,
            readers=readers,
        )
        self.parent.kill()
        return process

    def _take(self, data: bytes) -> None:
        self.output += data
        self.turns.append(len(data))


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Ended]:
    directory = tmp_path / "p1"
    parent = subprocess.Popen(["sleep", "1000"])
    made = Ended(ProcessFifos.make(directory, (os.getuid(), os.getgid())), directory, parent)
    try:
        yield made
    finally:
        made.fifos.close()
        for fd in made.writers.values():
            os.close(fd)
        parent.kill()
        parent.wait()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("written", "status"),
    [
        (b"0\n", 0),
        (b"255\n", 255),
        (b"256\n", 137),
        (b"-1\n", 137),
        (b"7" * 5000 + b"\n", 137),
        (b"7" * 5000 + b"\n3\n", 137),
        ("\u0663\n".encode(), 137),
        ("\u00b2\n".encode("latin-1"), 137),
        (b"\xff\xfe\n", 137),
        (b"1_0\n", 137),
        (b"+3\n", 137),
        (b"\0" * STATUS_LIMIT * 2, 137),
        (b"1\n" * (PIPE_BYTES // 2), 137),
        (b"", 137),
    ],
)
async def test_an_exit_status_is_a_number_up_to_255_and_anything_else_a_killed_process(
    ended: Ended, written: bytes, status: int
) -> None:
    """An app that writes 5,000 digits, or a full pipe, into its own status FIFO ends once, like any other."""
    if written:
        ended.write("status", written)
    process = ended.process()
    async with asyncio.timeout(10):
        assert await process.wait() == status
    process.abandon()
    assert process.finished


@pytest.mark.unit
async def test_a_writer_that_never_stops_does_not_hold_up_the_exit(ended: Ended) -> None:
    """Writers that refill the status FIFO as fast as it is read cost one read of a bounded size."""
    ended.write("status", b"1\n" * (PIPE_BYTES // 2))
    reads: list[int] = []
    real = os.read

    def read(fd: int, size: int) -> bytes:
        data = real(fd, size)
        if data.startswith((b"1", b"\n")):
            reads.append(size)
            os.write(ended.writers["status"], b"1" * len(data))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", read)
        process = ended.process()
        async with asyncio.timeout(10):
            assert await process.wait() == 137
    process.abandon()
    assert sum(reads) <= 2 * STATUS_LIMIT


@pytest.mark.unit
async def test_a_start_gives_up_on_a_status_that_says_too_much(ended: Ended) -> None:
    """A process that fills the status FIFO of one that is being started does not feed a growing buffer."""
    ended.write("status", b"x" * PIPE_BYTES)
    status = StatusReader(ended.fifos.take("status"))
    parent_fd = os.pidfd_open(ended.parent.pid)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(StatusSpoiled):
                await status.ready(parent_fd)
    finally:
        os.close(status.fd)
        os.close(parent_fd)


@pytest.mark.unit
async def test_last_words_of_a_mebibyte_are_read_in_turns(ended: Ended) -> None:
    """A full pipe at the exit does not take the loop in one go, and none of it is lost."""
    ended.write("status", b"3\n")
    ended.write("out", b"\n" * PIPE_BYTES)
    process = ended.process()
    async with asyncio.timeout(20):
        assert await process.wait() == 3
    assert len(ended.output) == PIPE_BYTES
    assert max(ended.turns) <= 65536
    process.abandon()
    assert process.finished


@pytest.mark.unit
async def test_a_handler_that_fails_costs_its_own_output_only(
    ended: Ended, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in the handling of output is logged once, and the exit is still told."""
    taken: list[bytes] = []

    def fail(data: bytes) -> None:
        taken.append(data)
        raise UnicodeDecodeError("utf-8", data, 0, 1, "no")

    ended.write("status", b"0\n")
    ended.write("out", b"x" * 200_000)
    process = ended.process(fail)
    async with asyncio.timeout(10):
        assert await process.wait() == 0
    process.abandon()
    assert sum(map(len, taken)) == 200_000
    assert [record.message for record in caplog.records] == ["output-handler-failed"]
    assert caplog.records[0].exc_info is not None
