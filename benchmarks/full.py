"""A full cell: N LRPs, each with a TCP check, a port, 100 egress rules and a line of log per second.

The floor is the engine alone in the same run: 8 workers with the same SDK, each of which creates, starts and
execs a container with the same image, init, mounts, limits and program, with network ``none``. It has no
ports, rules, checks or logs. Our side is `cell dev` through its REST API, so that the figures include the
control plane. The descriptors, threads, memory and CPU are those of its process.

  seconds    from the first desire to the last instance RUNNING
  p50, p99   of the time from the begin of the burst to an instance RUNNING
  one_more   from the desire of one more LRP to RUNNING; its floor is the first LRP of the empty cell
  removal    from the first deletion until the engine has none of the containers

    .venv/bin/python -m benchmarks.full
    .venv/bin/python -m benchmarks.full --n 25 100 --idle-seconds 10
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import docker
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bare import bare_engine
from benchmarks.burst import egress
from benchmarks.figures import Figure, arguments_of, hand_on
from cell.development import BUSYBOX_IMAGE
from cell.development.images import ensure_image
from cell.development.local import LocalCell, local_cell
from executor.engine.createrequest import LABEL_GUID

DOMAIN = "full"
PROGRAM = (
    "/bin/sh",
    "-c",
    "httpd -p 8080 -h /etc; mkfifo /tmp/never; exec 3<>/tmp/never; "
    "while :; do echo a line of an app that says something each second; read -t 1 none <&3; done",
)
"""Listens on a port and prints a line per second. A shell's ``read`` waits without a process for it."""
PATIENCE_S = 900.0


@dataclass(frozen=True)
class Floor:
    """Seconds of the engine alone. finished: of each container from the begin."""

    finished: Sequence[float]
    removal: float


@dataclass(frozen=True)
class Idle:
    """What the process of `cell dev` uses. cpu: percent of a core. lag_ms: mean delay of a timer."""

    cpu: float
    rss_mb: float
    descriptors: int
    threads: int
    lag_ms: float


def engine_alone(count: int) -> Floor:
    with bare_engine(network="none") as engine:
        finished = engine.start(count, PROGRAM)
        began = time.monotonic()
        engine.remove()
        return Floor(finished, time.monotonic() - began)


def document(guid: str, number: int, rules: int) -> dict[str, Any]:
    return {
        "process_guid": guid,
        "domain": DOMAIN,
        "rootfs": "preloaded:busybox",
        "instances": 1,
        "action": {"run": {"path": PROGRAM[0], "args": list(PROGRAM[1:]), "user": "root"}},
        "check_definition": {"checks": [{"tcp_check": {"port": 8080, "interval_ms": 2000}}]},
        "memory_mb": 32,
        "disk_mb": 32,
        "ports": [8080],
        "log_guid": guid,
        "log_source": "APP",
        "egress_rules": egress(number, rules),
    }


async def start(cell: LocalCell, guids: Sequence[str], rules: int, first_number: int) -> list[float]:
    """Seconds of each instance from the begin until it was RUNNING."""
    wall, known = time.time_ns(), len(await _rows(cell))
    async with asyncio.TaskGroup() as group:
        for number, guid in enumerate(guids, first_number):
            group.create_task(
                cell.receptor.expect(201, "POST", "/v1/desired_lrps", document(guid, number, rules))
            )

    def all_running(rows: Any) -> bool:
        return len([row for row in rows if row["state"] == "RUNNING"]) == known + len(guids)

    rows = await cell.receptor.until(
        f"/v1/actual_lrps?domain={DOMAIN}",
        all_running,
        what=f"{len(guids)} instances",
        timeout_s=PATIENCE_S,
        every_s=0.1,
    )
    wanted = set(guids)
    return [(row["since"] - wall) / 1e9 for row in rows if row["process_guid"] in wanted]


async def remove(cell: LocalCell, guids: Sequence[str]) -> float:
    """Seconds until the engine has none of the containers."""
    instances = {row["instance_guid"] for row in await _rows(cell) if row["process_guid"] in set(guids)}
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for guid in guids:
            group.create_task(cell.receptor.expect(204, "DELETE", f"/v1/desired_lrps/{guid}"))
    client = docker.APIClient()
    try:
        while any(
            one["Labels"].get(LABEL_GUID) in instances
            for one in await asyncio.to_thread(client.containers, all=True, filters={"label": LABEL_GUID})
        ):
            if time.monotonic() - began > PATIENCE_S:
                raise RuntimeError("the containers were not removed")
            await asyncio.sleep(0.1)
    finally:
        client.close()
    return time.monotonic() - began


async def _rows(cell: LocalCell) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await cell.receptor.expect(200, "GET", f"/v1/actual_lrps?domain={DOMAIN}")
    return rows


async def idle(cell: LocalCell, seconds: float) -> Idle:
    """What a cell uses while nothing starts or ends."""
    process = psutil.Process(cell.pid)
    lag, began, used = await _loop_lag(cell), time.monotonic(), _cpu_seconds(process)
    await asyncio.sleep(seconds)
    cpu = 100 * (_cpu_seconds(process) - used) / (time.monotonic() - began)
    late, timers = (after - before for after, before in zip(await _loop_lag(cell), lag, strict=True))
    return Idle(
        cpu=cpu,
        rss_mb=process.memory_info().rss / 1e6,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        lag_ms=1000 * late / max(timers, 1),
    )


def _cpu_seconds(process: psutil.Process) -> float:
    """CPU of a process and its children so far."""
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used += sum(one.cpu_times()[:4])
    return used


async def _loop_lag(cell: LocalCell) -> tuple[float, float]:
    """Sum of the delays of timers so far in s, and number of them."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{cell.cells[0]['admin']}/metrics") as answer,
    ):
        text = await answer.text()
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }
    name = "diego_cell_event_loop_lag_seconds"
    return values[f"{name}_sum"], values[f"{name}_count"]


async def measure(counts: Sequence[int], rules: int, idle_seconds: float) -> list[Figure]:
    """Print each figure."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as name:
        folder = Path(name)
        client = docker.APIClient()
        ensure_image(client, BUSYBOX_IMAGE, folder)
        client.close()
        await asyncio.to_thread(engine_alone, 2)  # the first containers of an engine are slower
        for count in counts:
            figures += await _measure_one(folder / str(count), count, rules, idle_seconds)
    return figures


async def _measure_one(folder: Path, count: int, rules: int, idle_seconds: float) -> list[Figure]:
    run = uuid.uuid4().hex[:8]
    guids = [f"full-{run}-{number}" for number in range(count)]
    warm, first, last = (f"full-{run}-{name}" for name in ("warm", "first", "one-more"))
    floor = await asyncio.to_thread(engine_alone, count)
    print(f"engine alone: {max(floor.finished):.2f} s, removal {floor.removal:.2f} s", flush=True)
    folder.mkdir()
    config = folder / "rep.json"
    config.write_text(
        json.dumps(
            {"container_max_count": count + 10, "memory_mb": str(64 * count + 1024), "disk_mb": "1000000"}
        )
    )
    async with local_cell(folder / "state", arguments=["--config", str(config)]) as cell:
        await start(cell, [warm], rules, count)
        await remove(cell, [warm])
        (one,) = await start(cell, [first], rules, count)
        await remove(cell, [first])
        running = await start(cell, guids, rules, 0)
        print(f"{count} LRPs RUNNING after {max(running):.2f} s", flush=True)
        await asyncio.sleep(idle_seconds / 2)  # what a burst leaves to do is done
        used = await idle(cell, idle_seconds)
        (one_more,) = await start(cell, [last], rules, count)
        removal = await remove(cell, [*guids, last])
    figures = [
        *(
            Figure(name, of(running), "s", count, of(floor.finished))
            for name, of in (("seconds", max), ("p50", statistics.median), ("p99", _p99))
        ),
        Figure("one_more", one_more, "s", count, one),
        Figure("removal", removal, "s", count, floor.removal),
        Figure("rss", used.rss_mb, "MB", count),
        Figure("cpu", used.cpu, "%", count),
        Figure("descriptors", used.descriptors, "", count),
        Figure("threads", used.threads, "", count),
        Figure("loop_lag", used.lag_ms, "ms", count),
    ]
    for figure in figures:
        floor_text = f", floor {figure.floor:.2f}, ratio {figure.ratio:.2f}" if figure.floor else ""
        print(f"full n={count}: {figure.name:11} {figure:9.2f} {figure.unit:2}{floor_text}", flush=True)
    return figures


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[250], help="how many LRPs (default 250)")
    parser.add_argument("--egress-rules", type=int, default=100, help="rules of each LRP (default 100)")
    parser.add_argument("--idle-seconds", type=float, default=30, help="how long idle counts (default 30)")
    args = parser.parse_args()
    hand_on(asyncio.run(measure(args.n, args.egress_rules, args.idle_seconds)), args.json)


if __name__ == "__main__":
    main()
