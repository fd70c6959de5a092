"""Log path: lines per second from a container to a file, against the engine's own attach stream.

The same program (busybox awk) in the same container prints the same numbered lines of 100 bytes. The same
line buffers, labels and sink process them and write JSON lines to a file. On the floor side, the bytes come
through the engine: the stream of an attached exec, read from its socket frame by frame without a thread. On
our side they come through the FIFOs and the spools of every process in a cell. Both sides run in turns in one
run. Each file is read back; a missing or misplaced line is an error.

    .venv/bin/python -m benchmarks.logs --lines 1000000

CPU is the time of this process and the engine's daemons: those in the same network namespace. Any other load
on the engine counts, too.

With ``--in-memory`` no container is needed: the lines go from memory to the ring buffer of an app's last
lines. The floor splits the same output and keeps the last lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import statistics
import struct
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import docker
import psutil

from benchmarks.figures import Figure, arguments_of, hand_on
from cell.development import BUSYBOX_IMAGE
from cell.development.images import ensure_image
from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.engine.spools import Spools
from executor.logs.api import Output
from executor.logs.sinks import RingSink
from executor.logs.streamer import LogStreamer
from executor.logs.targets import open_target
from executor.model import LogConfig

TEXT = "a line of an app that has a lot to say about what it is doing right now, and says it all the time"
DAEMONS = ("dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2")
FRAME_HEADER = 8
READ_SIZE = 65536


def program(lines: int) -> tuple[str, ...]:
    """Command line of the app: ``lines`` numbered lines of 100 bytes including the line end, from 0."""
    text = TEXT[: 100 - 11].ljust(100 - 11)
    return ("awk", f'BEGIN {{ for (i = 0; i < {lines}; i++) printf "%09d {text}\\n", i }}')


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: wall and CPU seconds."""

    wall: float
    cpu: float


def cpu_seconds() -> float:
    """CPU used so far by this process and the engine's daemons."""
    used, own = 0.0, os.readlink("/proc/self/ns/net")
    for process in psutil.process_iter(["name"]):
        if process.pid == os.getpid() or process.info["name"] in DAEMONS:
            try:
                if os.readlink(f"/proc/{process.pid}/ns/net") != own:
                    continue
                times = process.cpu_times()
            except (FileNotFoundError, psutil.NoSuchProcess):
                continue
            used += times.user + times.system
    return used


async def through_fifos(engine: DockerEngine, container: EngineContainer, lines: int, output: Output) -> None:
    """Read through FIFOs until the process has ended and all its output is handled."""
    path, *args = program(lines)
    process = await engine.start_process(
        container,
        ProcessSpec(path=f"/bin/{path}", args=tuple(args)),
        output.stdout,
        output.stderr,
        secrets.token_hex(4),
    )
    if status := await process.wait():
        raise RuntimeError(f"the program ended with {status}")
    await process.release()


async def through_attach(
    client: docker.APIClient, container: EngineContainer, lines: int, output: Output
) -> None:
    """Read an attached exec until its stream ends."""
    exec_id = client.exec_create(container.id, list(program(lines)))["Id"]
    attached: Any = client.exec_start(exec_id, socket=True)
    stream: socket.socket = attached._sock
    stream.setblocking(False)
    loop = asyncio.get_running_loop()
    frames = Frames(output)
    try:
        while data := await loop.sock_recv(stream, READ_SIZE):
            frames.feed(data)
            await asyncio.sleep(0)  # a full socket is read without a pause, so other tasks need a turn
    finally:
        stream.close()
        attached.close()


class Frames:
    """Demultiplexer of the stream: a byte for the stream, three zero bytes, four bytes of length."""

    def __init__(self, output: Output) -> None:
        self._handlers = {1: output.stdout, 2: output.stderr}
        self._rest = b""

    def feed(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= FRAME_HEADER:
            kind, size = struct.unpack_from(">BxxxL", data, at)
            end = at + FRAME_HEADER + size
            if end > len(data):
                break
            self._handlers[kind](data[at + FRAME_HEADER : end])
            at = end
        self._rest = data[at:]


async def measured(folder: Path, lines: int, run: Callable[[Output], Awaitable[None]]) -> Pass:
    """Run once into a separate file, and check that every line is there, in order."""
    path = folder / "app.log"
    shipper = open_target(f"file:{path}")
    streamer = LogStreamer(shipper, LogConfig(guid="bench", tags={"process_type": "web"}))
    output = streamer.stream("APP/PROC/WEB")
    cpu, began = cpu_seconds(), time.monotonic()
    async with shipper.running():
        await run(output)
        streamer.flush()
    wall, used = time.monotonic() - began, cpu_seconds() - cpu
    if shipper.dropped:
        raise RuntimeError(f"{shipper.dropped} lines were dropped")
    with path.open("rb") as file:
        count = 0
        for count, text in enumerate(file, 1):
            if int(json.loads(text)["message"][:9]) != count - 1:
                raise RuntimeError(f"line {count - 1} is not where it should be: {text!r}")
    if count != lines:
        raise RuntimeError(f"{count} lines arrived of {lines}")
    path.unlink()
    return Pass(wall, used)


@asynccontextmanager
async def container_for(folder: Path) -> AsyncIterator[tuple[DockerEngine, EngineContainer]]:
    """An engine with one idle container."""
    name = f"bench{secrets.token_hex(4)}"
    engine = DockerEngine(
        EngineConfig(state_dir=folder / "engine", owner=name, cell_id=name, name_prefix=f"{name}-"),
        Spools(folder / "spool"),
    )
    try:
        yield engine, await engine.create(ContainerSpec(guid=name, root_fs=BUSYBOX_IMAGE))
    finally:
        await engine.destroy(name)
        await engine.close()


def in_memory(lines: int, rounds: int) -> list[Figure]:
    """Print the CPU time of a line from a read of output to the ring buffer."""
    text = TEXT[: 100 - 11].ljust(100 - 11)
    output = "".join(f"{number:09} {text}\n" for number in range(lines)).encode()
    blocks = [output[at : at + READ_SIZE] for at in range(0, len(output), READ_SIZE)]
    ours: list[float] = []
    floor: list[float] = []
    for _ in range(rounds):
        sink = RingSink()
        stdout = LogStreamer(sink, LogConfig(guid="bench")).stream("APP/PROC/WEB").stdout
        began = time.process_time()
        for block in blocks:
            stdout(block)
        ours.append(time.process_time() - began)
        if not sink.lines()[-1].payload.startswith(b"%09d" % (lines - 1)):
            raise RuntimeError("the last line is not the last one of the output")
        floor.append(_kept_lines(blocks))
    figure = Figure(
        "in_memory",
        1e6 * statistics.median(ours) / lines,
        "us",
        lines,
        1e6 * statistics.median(floor) / lines,
    )
    print(
        f"logs in memory n={lines}: {figure:.2f} us of CPU a line, split and kept {figure.floor:.2f} us, "
        f"ratio {figure.ratio:.2f}"
    )
    return [figure]


def _kept_lines(blocks: Sequence[bytes]) -> float:
    """CPU seconds to split output and keep its last lines."""
    kept: deque[bytes] = deque(maxlen=1000)
    began = time.process_time()
    for block in blocks:
        kept.extend(block.split(b"\n"))
    return time.process_time() - began


async def measure(lines: int, rounds: int) -> list[Figure]:
    """Print each round and the ratio of the medians."""
    client = docker.APIClient()
    floor: list[Pass] = []
    ours: list[Pass] = []
    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as name:
        folder = Path(name)
        ensure_image(client, BUSYBOX_IMAGE, folder)
        async with container_for(folder) as (engine, container):
            for number in range(rounds):
                floor.append(
                    await measured(folder, lines, lambda out: through_attach(client, container, lines, out))
                )
                ours.append(
                    await measured(folder, lines, lambda out: through_fifos(engine, container, lines, out))
                )
                print(
                    f"round {number + 1}: attach {_shown(floor[-1], lines)}   cell {_shown(ours[-1], lines)}",
                    flush=True,
                )
    client.close()
    wall, cpu = (
        Figure(name, _rate(ours, lines, of), "lines/s", lines, _rate(floor, lines, of))
        for name, of in (("rate", attrgetter("wall")), ("rate_per_cpu", attrgetter("cpu")))
    )
    print(
        f"logs n={lines}: {wall:,.0f} lines/s, none lost; {wall.ratio:.2f} x the attach stream by the clock, "
        f"{cpu.ratio:.2f} x per CPU second"
    )
    return [wall, cpu]


def _rate(passes: Sequence[Pass], lines: int, of: Callable[[Pass], float]) -> float:
    return lines / statistics.median(map(of, passes))


def _shown(one: Pass, lines: int) -> str:
    return f"{lines / one.wall:9,.0f} lines/s ({lines / one.cpu:9,.0f} per CPU s)"


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="how many lines (default 1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs (default 3)")
    parser.add_argument("--in-memory", action="store_true", help="without a container")
    args = parser.parse_args()
    if args.in_memory:
        figures = in_memory(args.lines, args.rounds)
    else:
        figures = asyncio.run(measure(args.lines, args.rounds))
    hand_on(figures, args.json)


if __name__ == "__main__":
    main()
