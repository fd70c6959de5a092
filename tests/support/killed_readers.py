"""Readers of one process's output that are killed one after the other, as a program.

    python -m tests.support.killed_readers FOLDER LIVES SEED

A writer sends numbered lines through two FIFOs, in pieces that break lines. Each reader resumes the spools
and appends the lines to ``FOLDER/app.log`` until SIGKILL ends it after some ms. The last one reads to the
end. Prints the number of lines written to each stream.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from executor.engine.readers import OutputReaders
from executor.engine.spools import Spools
from executor.logs.leftovers import LeftoverOutput
from executor.logs.streamer import LogStreamer
from executor.logs.targets import open_target
from executor.model import LogConfig
from tests.support.waiting import until

STREAMS = ("out", "err")
LIFE_S = 0.08
PIECE_BYTES = 100_000


def write(folder: Path, end: int, seed: int) -> list[int]:
    """Write numbered lines until the other side of ``end`` is closed; returns how many to each stream."""
    choice = random.Random(seed)
    fifos = [os.open(folder / name, os.O_WRONLY) for name in STREAMS]
    counts, unwritten = [0, 0], [b"", b""]
    os.set_blocking(end, False)
    while True:
        try:
            over = not os.read(end, 1)
        except BlockingIOError:
            over = False
        for index, fifo in enumerate(fifos):
            while len(unwritten[index]) < PIECE_BYTES and not over:
                unwritten[index] += b"%d %s\n" % (counts[index], b"x" * choice.choice((0, 10, 100, 3000)))
                counts[index] += 1
            size = len(unwritten[index]) if over else choice.randrange(PIECE_BYTES)
            while size:
                written = os.write(fifo, unwritten[index][:size])
                unwritten[index] = unwritten[index][written:]
                size -= written
        if over:
            return counts
        time.sleep(0.0001)


async def read(folder: Path, opened: Callable[[], None] = lambda: None) -> None:
    """Read to the end of both FIFOs, and deliver everything. opened: called once the FIFOs are open."""
    spools = Spools(folder / "spool")
    readers = OutputReaders(spools)
    sink = open_target(f"file:{folder / 'app.log'}")
    output = LogStreamer(sink, LogConfig(guid="app")).stream("APP")
    async with sink.running():
        fifos = [os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK) for name in STREAMS]
        opened()
        pair = readers.resume("guid", fifos, (output.stdout, output.stderr), "process")
        await until(lambda: all(reader.closed for reader in pair), "the end of the output")
        output.flush()
        await LeftoverOutput(spools=spools, sink=sink, live=set).deliver(set())


def main() -> None:
    folder, lives, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    choice = random.Random(seed)
    for name in STREAMS:
        os.mkfifo(folder / name)
    held = [os.open(folder / name, os.O_RDWR) for name in STREAMS]  # as the parent of a process does
    end, more = os.pipe()
    result, report = os.pipe()
    writer = os.fork()
    if not writer:
        os.close(more)
        os.write(report, " ".join(map(str, write(folder, end, seed))).encode())
        os._exit(0)
    for _ in range(lives):
        reader = os.fork()
        if not reader:
            os.close(more)
            asyncio.run(read(folder))
            os._exit(1)
        time.sleep(choice.uniform(0, LIFE_S))
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
    os.close(more)
    is_open, report_open = os.pipe()
    reader = os.fork()
    if not reader:
        for fd in held:
            os.close(fd)
        asyncio.run(read(folder, lambda: os.close(report_open)))
        os._exit(0)
    os.close(report_open)
    os.waitpid(writer, 0)
    os.read(is_open, 1)  # a FIFO that no process has open loses its content
    for fd in held:
        os.close(fd)
    _, status = os.waitpid(reader, 0)
    print(os.read(result, 100).decode())
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
