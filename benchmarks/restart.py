"""Restart benchmark: from the kill of an agent until it has adopted its containers and accepts work.

The cell is a `cell rep` process under a control plane that lives on. Each of N instances has a TCP health
check. After kill -9, three times count from the start of the new process: the rep answers (the whole store
is restored before that), every process in the containers is adopted (the agent holds its pidfds), and a new
Task has run. The floor is a start without containers. `linear` is the CPU time per container above the
floor, relative to that of the smallest N: other programs may use the machine as well.

    .venv/bin/python -m benchmarks.restart --n 50 100

The journal's share of a start is the time of the writes that a start waits for, divided by the time from the
desire of an instance to RUNNING, both as medians of one run.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import psutil

from benchmarks.figures import Figure, arguments_of, hand_on
from cell.development import BUSYBOX_IMAGE
from cell.development.images import ensure_image
from cell.development.local import LocalCell, local_cell
from cell.development.slots import take_slots
from executor.journal.api import ContainerRow, Put, StepRow
from executor.journal.sqlite import SQLiteJournal
from tests.support.local_reps import QUICK, LocalRep

DOMAIN = "bench"
ROW_BYTES = 4096
ROWS_PER_START = 4
"""Rows of the start of an instance: reserved, initializing, created, and the beginning of its process."""


@dataclass(frozen=True)
class Restart:
    """Seconds from the start of the process. cpu: of the process until all is adopted."""

    answers: float
    adopted: float
    works: float
    cpu: float


def lrp(instances: int) -> dict[str, Any]:
    return {
        "process_guid": "web",
        "domain": DOMAIN,
        "rootfs": "preloaded:busybox",
        "instances": instances,
        "action": {
            "run": {"path": "httpd", "args": ["-f", "-p", "8080", "-h", "/etc"], "user": "root"},
        },
        "check_definition": {"checks": [{"tcp_check": {"port": 8080, "interval_ms": 1000}}]},
        "memory_mb": 16,
        "disk_mb": 16,
        "ports": [8080],
        "log_guid": "web",
        "metric_tags": {"source_id": {"static": "web"}},
    }


def task(guid: str) -> dict[str, Any]:
    return {
        "task_guid": guid,
        "domain": DOMAIN,
        "rootfs": "preloaded:busybox",
        "action": {"run": {"path": "true", "user": "root"}},
        "memory_mb": 16,
        "disk_mb": 16,
    }


def adopted(pid: int) -> int:
    """How many processes in containers an agent holds: each by two pidfds, its own and its parent's."""
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            links.append(os.readlink(path))
    return links.count("anon_inode:[pidfd]") // 2


async def settle(plane: LocalCell, count: int) -> list[str]:
    """Wait until so many instances run; their guids."""

    def enough(rows: Any) -> bool:
        return len([row for row in rows if row["state"] == "RUNNING"]) == count == len(rows)

    rows = await plane.receptor.until(
        f"/v1/actual_lrps?domain={DOMAIN}", enough, what=f"{count} instances", timeout_s=600, every_s=0.1
    )
    return sorted(row["instance_guid"] for row in rows)


async def restart(plane: LocalCell, rep: LocalRep, count: int, number: int) -> Restart:
    """Kill the agent and start it again."""
    before = await settle(plane, count) if count else []
    await rep.kill()
    began = time.monotonic()
    await rep.start()
    answers = time.monotonic() - began
    while adopted(rep.pid) < count:
        if time.monotonic() - began > 120:
            raise RuntimeError(f"only {adopted(rep.pid)} of {count} processes were adopted")
        await asyncio.sleep(0.005)
    all_adopted = time.monotonic() - began
    used = psutil.Process(rep.pid).cpu_times()
    guid = f"after-{count}-{number}"
    await plane.receptor.expect(201, "POST", "/v1/tasks", task(guid))

    def completed(body: Any) -> bool:
        return bool(body["state"] == "COMPLETED")

    await plane.receptor.until(f"/v1/tasks/{guid}", completed, what="the Task", timeout_s=60)
    works = time.monotonic() - began
    await plane.receptor.expect(200, "DELETE", f"/v1/tasks/{guid}")
    if count and await settle(plane, count) != before:
        raise RuntimeError("an instance was replaced")
    return Restart(answers, all_adopted, works, used.user + used.system)


async def start_of_one(plane: LocalCell) -> float:
    """Seconds from the desire of one instance to RUNNING."""
    began = time.monotonic()
    await plane.receptor.expect(201, "POST", "/v1/desired_lrps", lrp(1))
    await settle(plane, 1)
    seconds = time.monotonic() - began
    await plane.receptor.expect(204, "DELETE", "/v1/desired_lrps/web")
    await plane.receptor.until(f"/v1/actual_lrps?domain={DOMAIN}", lambda rows: rows == [], what="its end")
    return seconds


async def journal_writes(folder: Path) -> float:
    """Seconds of the writes of one start, on the disk of the state folder."""
    value = b"x" * ROW_BYTES
    times = []
    async with SQLiteJournal(folder / "journal") as journal:
        for number in range(200):
            began = time.monotonic()
            for _ in range(ROWS_PER_START - 1):
                await journal.write(Put(ContainerRow(guid=f"g{number}", value=value)))
            await journal.write(Put(StepRow(guid=f"g{number}", path="action/run", ended=False, value=value)))
            times.append(time.monotonic() - began)
    return statistics.median(times)


def median(restarts: Sequence[Restart], of: Callable[[Restart], float]) -> float:
    return statistics.median(map(of, restarts))


async def measure(counts: Sequence[int], rounds: int) -> list[Figure]:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="diego-cell-restart-") as name:
        folder = Path(name)
        client = docker.APIClient()
        ensure_image(client, BUSYBOX_IMAGE, folder)
        client.close()
        figures: list[Figure] = []
        async with local_cell(folder / "plane", arguments=["--cells", "0"]) as plane:
            with take_slots(1) as (slot,):
                rep = LocalRep(plane, slot, folder / "cell", settings=QUICK)
                async with rep.running():
                    await plane.receptor.expect(204, "PUT", f"/v1/domains/{DOMAIN}")
                    await start_of_one(plane)
                    started = statistics.median([await start_of_one(plane) for _ in range(rounds)])
                    empty = [await restart(plane, rep, 0, number) for number in range(rounds)]
                    print(
                        f"without containers: answers {median(empty, lambda each: each.answers):.2f} s, "
                        f"{median(empty, lambda each: each.cpu):.2f} s of CPU",
                        flush=True,
                    )
                    slopes: list[float] = []
                    for count in sorted(counts):
                        got = await restarts_with(plane, rep, count, rounds)
                        own_cpu = median(got, lambda each: each.cpu) - median(empty, lambda each: each.cpu)
                        slopes.append(own_cpu / count)
                        figures += figures_of(count, got, empty)
                        figures.append(Figure("cpu_each", 1000 * slopes[-1], "ms", count))
                        figures.append(Figure("linear", slopes[-1] / slopes[0], "x", count))
                        print(
                            f"n={count}: answers {median(got, lambda each: each.answers):.2f} s,"
                            f" all adopted {median(got, lambda each: each.adopted):.2f} s,"
                            f" a Task has run {median(got, lambda each: each.works):.2f} s,"
                            f" {figures[-2]:.1f} ms of CPU each, linear {figures[-1]:.2f}",
                            flush=True,
                        )
        written = await journal_writes(folder)
        share = Figure("journal_share", 100 * written / started, "%")
        print(
            f"journal: {1000 * written:.2f} ms of writes, {1000 * started:.0f} ms from desire to RUNNING,"
            f" share {share:.2f} %"
        )
        return [*figures, share]


async def restarts_with(plane: LocalCell, rep: LocalRep, count: int, rounds: int) -> list[Restart]:
    """Start so many instances, restart the agent so often, and remove them."""
    await plane.receptor.expect(201, "POST", "/v1/desired_lrps", lrp(count))
    await settle(plane, count)
    got = [await restart(plane, rep, count, number) for number in range(rounds)]
    await plane.receptor.expect(204, "DELETE", "/v1/desired_lrps/web")
    await plane.receptor.until(
        f"/v1/actual_lrps?domain={DOMAIN}", lambda rows: rows == [], what="their end", timeout_s=600
    )
    return got


def figures_of(count: int, got: Sequence[Restart], empty: Sequence[Restart]) -> list[Figure]:
    """The three times; their floor is a start without containers."""
    times: dict[str, Callable[[Restart], float]] = {
        "answers": lambda each: each.answers,
        "adopted": lambda each: each.adopted,
        "works": lambda each: each.works,
    }
    return [Figure(name, median(got, of), "s", count, median(empty, of)) for name, of in times.items()]


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[50, 100], help="instances (default: 50 100)")
    parser.add_argument("--rounds", type=int, default=3, help="restarts with each N (default: 3)")
    arguments = parser.parse_args()
    hand_on(asyncio.run(measure(arguments.n, arguments.rounds)), arguments.json)


if __name__ == "__main__":
    main()
