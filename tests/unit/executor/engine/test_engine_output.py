"""Output read in turns: little delay for other instances, and no loss."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.engine.output import PIECE_LINES, READ_SIZE, TURN_S, OutputReader, OutputTurns, piece_end
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

PIPE_BYTES = 1 << 20


class Pipes:
    """Pipes that are full from the start, and what their readers handled, in order."""

    def __init__(self, turns: OutputTurns) -> None:
        self.turns = turns
        self.handled: list[tuple[str, bytes]] = []
        self.writers: list[int] = []
        self.readers: list[OutputReader] = []

    def reader(self, owner: str, data: bytes, handler: Callable[[bytes], None] | None = None) -> OutputReader:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        assert os.write(writing, data) == len(data)
        self.writers.append(writing)

        def take(piece: bytes) -> None:
            self.handled.append((owner, piece))
            if handler is not None:
                handler(piece)

        made = OutputReader(reading, take, self.turns, owner)
        self.readers.append(made)
        return made

    def end_output(self) -> None:
        while self.writers:
            os.close(self.writers.pop())

    def output(self, owner: str) -> bytes:
        return b"".join(piece for name, piece in self.handled if name == owner)

    async def until_closed(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if all(reader.closed for reader in self.readers):
                    return
                await asyncio.sleep(0)


class Clock:
    """Each piece takes ``piece_s``; other work takes what a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pipes(clock: Clock) -> Iterator[Pipes]:
    made = Pipes(OutputTurns(clock))
    yield made
    made.end_output()
    for reader in made.readers:
        reader.close()


@given(st.lists(st.binary(max_size=3000)), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_pieces_are_whole_and_have_few_lines(parts: list[bytes], end: bytes) -> None:
    data, start, pieces = end.join(parts) * 3, 0, []
    while start < len(data):
        stop = piece_end(data, start)
        pieces.append(data[start:stop])
        start = stop
    assert b"".join(pieces) == data
    assert all(pieces)
    assert all(piece.count(b"\n") + piece.count(b"\r") <= PIECE_LINES for piece in pieces)


async def test_one_byte_lines_are_handled_a_piece_at_a_time(pipes: Pipes) -> None:
    """64 KiB of one-byte lines are not handled in one go, which would hold the loop for 20 ms."""
    data = b"a\n" * (READ_SIZE // 2)
    pipes.reader("flood", data)
    pipes.end_output()
    await pipes.until_closed()
    assert pipes.output("flood") == data
    assert max(piece.count(b"\n") for _, piece in pipes.handled) <= PIECE_LINES


async def test_instances_take_turns_whatever_the_number_of_their_processes(
    pipes: Pipes, clock: Clock
) -> None:
    """Ten processes of one instance get no more of the loop than the one process of another."""
    data = b"a\n" * (READ_SIZE // 2)
    for _ in range(10):
        pipes.reader("many", data, lambda _: clock.spend(TURN_S / 2))
    pipes.reader("one", data, lambda _: clock.spend(TURN_S / 2))
    pipes.end_output()
    await pipes.until_closed()
    last = max(at for at, (owner, _) in enumerate(pipes.handled) if owner == "one")
    shares = Counter(owner for owner, _ in pipes.handled[: last + 1])
    assert abs(shares["many"] - shares["one"]) <= 1
    assert Counter(pipes.output("many")) == Counter(data * 10)
    assert pipes.output("one") == data


async def test_a_turn_is_over_when_its_time_is(pipes: Pipes, clock: Clock) -> None:
    """Between two turns the loop makes a pass, in which a task that is ready goes on."""
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    seen: list[int] = []

    def handle(_: bytes) -> None:
        seen.append(passes)
        clock.spend(TURN_S / 2)

    pipes.reader("flood", b"a\n" * (READ_SIZE // 2), handle)
    pipes.end_output()
    counting = asyncio.create_task(count())
    await pipes.until_closed()
    counting.cancel()
    assert max(len(list(same)) for _, same in groupby(seen)) == 2


async def test_while_others_have_work_output_waits_a_little(pipes: Pipes, clock: Clock) -> None:
    """A chain of short steps of a ms each is interrupted by a turn every ten steps, not after each."""
    steps: list[str] = []

    def handle(_: bytes) -> None:
        steps.append("turn")
        clock.spend(TURN_S)

    async def work() -> None:
        for _ in range(100):
            clock.spend(0.001)
            steps.append("step")
            await asyncio.sleep(0)

    pipes.reader("flood", b"a\n" * (READ_SIZE // 2), handle)
    await asyncio.create_task(work())
    assert 5 <= steps[: len(steps)].count("turn") <= 12


async def test_a_failing_handler_stops_no_reader(pipes: Pipes, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that raises costs its instance that output; it is logged once. A neighbour's is handled."""

    def fail(_: bytes) -> None:
        raise RecursionError("too deep")

    pipes.reader("bad", b"a\n" * (READ_SIZE // 2), fail)
    pipes.reader("good", b"good\n")
    pipes.end_output()
    await pipes.until_closed()
    assert pipes.output("good") == b"good\n"
    assert caplog.messages.count("output-handler-failed") == 1


async def test_draining_ends_with_what_was_there(pipes: Pipes) -> None:
    """The exit of a process waits for its output, up to a MiB of it, and not for a child that writes on."""
    data = b"a\n" * (PIPE_BYTES // 2)
    drained = asyncio.Event()
    reader = pipes.reader("app", data)
    reader.drain(drained.set)
    assert not drained.is_set()
    async with asyncio.timeout(PATIENCE_S):
        await drained.wait()
    assert pipes.output("app") == data
    os.write(pipes.writers[0], b"later\n")
    pipes.end_output()
    await pipes.until_closed()
    assert pipes.output("app") == data + b"later\n"


async def test_draining_does_not_wait_for_output_the_app_takes_back(pipes: Pipes) -> None:
    """An app can read its own FIFO: what is gone is not waited for."""
    drained = asyncio.Event()
    reader = pipes.reader("app", b"words")
    reader.drain(drained.set)
    assert os.read(reader._fd, 100) == b"words"
    async with asyncio.timeout(PATIENCE_S):
        await drained.wait()


async def test_output_that_ends_while_it_is_drained_lets_the_other_of_the_instance_take_its_turn(
    pipes: Pipes,
) -> None:
    """A surviving child takes the output back and ends: the error output is drained next, all the same."""
    drained = asyncio.Event()
    out, err = pipes.reader("app", b"words"), pipes.reader("app", b"error")
    out.drain(lambda: err.drain(drained.set))
    assert os.read(out._fd, 100) == b"words"
    os.close(pipes.writers.pop(0))
    async with asyncio.timeout(PATIENCE_S):
        await drained.wait()
    assert pipes.output("app") == b"error"


async def test_closing_handles_what_was_read(pipes: Pipes, clock: Clock) -> None:
    """A hand-over to a later life of the agent loses nothing that left the FIFO."""
    data = b"a\n" * (READ_SIZE // 2)
    reader = pipes.reader("app", data, lambda _: clock.spend(TURN_S))
    for _ in range(10):
        await asyncio.sleep(0)
    assert 0 < len(pipes.output("app")) < len(data)
    reader.close()
    assert pipes.output("app") == data
