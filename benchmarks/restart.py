"""Restart benchmark: from the kill of an agent until it has adopted its containers and accepts work.

The cell is a `cell rep` process under a control plane that lives on. Each of N instances has a TCP health
check. After kill -9, three times count from the start of the new process: the rep answers (the whole store
is restored before that), every process in the containers is adopted (the agent holds its pidfds), and a new
Task has run. The floor is a start without containers. `linear` is the CPU time per container above the
floor, relative to that of the smallest N: other programs may use the machine as well.

    .venv/bin/python benchmarks/restart.py --n 50 100

The journal's share of a start is the time of the writes that a start waits for, divided by the time from the
desire of an instance to RUNNING, both as medians of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

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


def median(restarts: list[Restart], of: Callable[[Restart], float]) -> float:
    return statistics.median(map(of, restarts))


async def measure(counts: list[int], rounds: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="diego-cell-restart-") as name:
        folder = Path(name)
        client = docker.APIClient()
        ensure_image(client, BUSYBOX_IMAGE, folder)
        client.close()
        async with local_cell(folder / "plane", arguments=["--cells", "0"]) as plane:
            with take_slots(1) as (slot,):
                rep = LocalRep(plane, slot, folder / "cell", settings=QUICK)
                async with rep.running():
                    await plane.receptor.expect(204, "PUT", f"/v1/domains/{DOMAIN}")
                    await start_of_one(plane)
                    starts = [await start_of_one(plane) for _ in range(rounds)]
                    empty = [await restart(plane, rep, 0, number) for number in range(rounds)]
                    floor = median(empty, lambda each: each.cpu)
                    answers = median(empty, lambda each: each.answers)
                    print(f"without containers: answers {answers:.2f} s, {floor:.2f} s of CPU", flush=True)
                    slopes = []
                    for count in sorted(counts):
                        await plane.receptor.expect(201, "POST", "/v1/desired_lrps", lrp(count))
                        await settle(plane, count)
                        got = [await restart(plane, rep, count, number) for number in range(rounds)]
                        await plane.receptor.expect(204, "DELETE", "/v1/desired_lrps/web")
                        await plane.receptor.until(
                            f"/v1/actual_lrps?domain={DOMAIN}",
                            lambda rows: rows == [],
                            what="their end",
                            timeout_s=600,
                        )
                        slopes.append((median(got, lambda each: each.cpu) - floor) / count)
                        print(
                            f"n={count}: answers {median(got, lambda each: each.answers):.2f} s,"
                            f" all adopted {median(got, lambda each: each.adopted):.2f} s,"
                            f" a Task has run {median(got, lambda each: each.works):.2f} s,"
                            f" {1000 * slopes[-1]:.1f} ms of CPU each, linear {slopes[-1] / slopes[0]:.2f}",
                            flush=True,
                        )
        written, started = await journal_writes(folder), statistics.median(starts)
        print(
            f"journal: {1000 * written:.2f} ms of writes, {1000 * started:.0f} ms from desire to RUNNING,"
            f" share {100 * written / started:.2f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, nargs="+", default=[50, 100], help="instances (default: 50 100)")
    parser.add_argument("--rounds", type=int, default=3, help="restarts with each N (default: 3)")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.n, arguments.rounds))


if __name__ == "__main__":
    main()
