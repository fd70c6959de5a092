"""Health checks: the cost of one more healthy instance with a TCP check every 2 s.

Our side is liveness checks as in a cell: coroutines of the agent, with sockets made in a namespace. The floor
is the cheapest form of one process per check: a busybox shell that probes with busybox nc and sleeps. Both
check the same ports of one listening process, whose cost is not counted. They run in turns in one run.

    .venv/bin/python -m benchmarks.checks --checks 250

CPU is user and system time per check and second, children included. Memory is unshared memory (USS).
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil

from benchmarks.figures import Figure, arguments_of, hand_on
from executor.network.spaces import Spaces
from executor.steps.check import LivenessCheck, Target
from executor.steps.throttle import Turns

BUSYBOX = "/bin/busybox"

LISTENER = """
import selectors, socket, sys
selector = selectors.DefaultSelector()
for _ in range(int(sys.argv[1])):
    one = socket.create_server(("127.0.0.1", 0))
    one.setblocking(False)
    selector.register(one, selectors.EVENT_READ)
    print(one.getsockname()[1])
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        try:
            key.fileobj.accept()[0].close()
        except BlockingIOError:
            pass
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one check: ms of CPU per second, and bytes."""

    cpu_ms: float
    memory: float


@contextmanager
def listening(count: int) -> Iterator[list[int]]:
    """Ports that accept connections."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(count)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ports = []
        for text in process.stdout:
            if text == "ready\n":
                break
            ports.append(int(text))
        yield ports
    finally:
        process.kill()
        process.communicate()


async def our_checks(ports: Sequence[int], interval: float, seconds: float) -> Cost:
    """Coroutines of this process."""
    me = psutil.Process()

    async def never() -> bool:
        return False

    spaces = Spaces()
    spaces.hold("bench", os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    (await spaces.open_socket("bench", socket.AF_INET)).close()
    gc.collect()
    memory = me.memory_full_info().uss
    began, used = time.monotonic(), time.process_time()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, port in enumerate(ports):
            target = Target(
                kind="tcp",
                host="127.0.0.1",
                port=port,
                timeout=1.0,
                open_socket=partial(spaces.open_socket, "bench"),
                turns=Turns(),
            )
            check = LivenessCheck(target, interval=interval, on_failure=lambda _: None, out_of_memory=never)
            tasks.append(group.create_task(_after(number / len(ports) * interval, check)))
        await asyncio.sleep(seconds)
        cpu = (time.process_time() - used) / (time.monotonic() - began)
        gc.collect()
        memory = me.memory_full_info().uss - memory
        if ended := [task for task in tasks if task.done()]:
            raise RuntimeError(f"{len(ended)} checks failed")
        for task in tasks:
            task.cancel()
    spaces.close()
    return Cost(cpu * 1e3 / len(ports), memory / len(ports))


async def _after(delay: float, check: LivenessCheck) -> None:
    """Start with a delay, because a cell does not start all checks at once. Cancellation raises an error."""
    try:
        await asyncio.sleep(delay)
        await check.run()
    except Exception:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            raise


def processes(ports: Sequence[int], interval: float, seconds: float) -> Cost:
    """One shell per check, each the leader of a process group."""
    made: list[psutil.Popen] = []
    began, used = time.monotonic(), _waited_for()
    try:
        for number, port in enumerate(ports):
            delay = number / len(ports) * interval
            probe = f"{BUSYBOX} nc -w 1 127.0.0.1 {port} </dev/null >/dev/null"
            script = f"sleep {delay:.3f}; while {probe}; do sleep {interval}; done; exit 1"
            made.append(psutil.Popen([BUSYBOX, "sh", "-c", script], process_group=0))
        time.sleep(seconds)
        memory = sum(_memory(process) for process in made)
        if ended := [process for process in made if process.poll() is not None]:
            raise RuntimeError(f"{len(ended)} checks failed")
    finally:
        for process in made:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    cpu = (_waited_for() - used) / (time.monotonic() - began)
    return Cost(cpu * 1e3 / len(ports), memory / len(ports))


def _waited_for() -> float:
    """CPU seconds of exited children and their descendants."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(process: psutil.Popen) -> float:
    used: float = process.memory_full_info().uss
    for child in process.children():
        try:
            used += child.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
    return used


def measure(count: int, interval: float, seconds: float) -> list[Figure]:
    """Print both costs and their ratios."""
    with listening(count) as ports:
        floor = processes(ports, interval, seconds)
        print(f"a process per check: {floor.cpu_ms:.3f} ms CPU/s, {floor.memory / 1024:.0f} KiB", flush=True)
        ours = asyncio.run(our_checks(ports, interval, seconds))
        print(f"coroutines:          {ours.cpu_ms:.3f} ms CPU/s, {ours.memory / 1024:.1f} KiB", flush=True)
    cpu = Figure("cpu", ours.cpu_ms, "ms/s", count, floor.cpu_ms)
    memory = Figure("memory", max(ours.memory, 1) / 1024, "KiB", count, floor.memory / 1024)
    print(
        f"checks n={count} every {interval:g} s: {cpu:.3f} ms CPU/s and {memory:.1f} KiB a check, "
        f"{1 / cpu.ratio:.1f} x and {1 / memory.ratio:.0f} x less than a process per check"
    )
    return [cpu, memory]


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--checks", type=int, default=250, help="how many (default 250)")
    parser.add_argument("--interval", type=float, default=2.0, help="s between two probes (default 2)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each side runs (default 20)")
    args = parser.parse_args()
    hand_on(measure(args.checks, args.interval, args.seconds), args.json)


if __name__ == "__main__":
    main()
