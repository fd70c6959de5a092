"""Burst benchmark: the time from N desired LRPs to N running instances, against the bare engine.

Both sides run on one machine, in turns. The floor is the engine alone: 8 workers with the same SDK, each of
which creates, starts and execs a container with the same image, init, mounts, limits and network. Our side is
`cell dev` through its REST API: the time from the first POST until the last instance is RUNNING. It includes
everything: store, auction, claim, ports, logs and, with --egress-rules, that many different rules for each
LRP. The bare engine maps no ports and has no rules.

    .venv/bin/python -m benchmarks.burst --n 1 25
    .venv/bin/python -m benchmarks.burst --n 100 --egress-rules 100
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker

from benchmarks.bare import bare_engine
from benchmarks.figures import Figure, arguments_of, hand_on
from cell.development import BUSYBOX_IMAGE
from cell.development.images import ensure_image
from cell.development.local import LocalCell, local_cell


def bare_burst(count: int) -> float:
    """Seconds for the engine alone; the clean-up is not timed."""
    with bare_engine() as engine:
        began = time.monotonic()
        engine.start(count)
        return time.monotonic() - began


def egress(number: int, count: int) -> list[dict[str, Any]]:
    """``count`` rules that differ from those of all other LRPs."""
    return [
        {
            "protocol": "tcp",
            "destinations": [f"{198 + rule // 256}.{number // 256}.{number % 256}.{rule % 256}"],
            "ports": [443, 8000 + rule],
        }
        for rule in range(count)
    ]


def _lrp(guid: str, egress_rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "process_guid": guid,
        "domain": "bench",
        "rootfs": "preloaded:busybox",
        "instances": 1,
        "action": {"run": {"path": "/bin/sleep", "args": ["1000"], "user": "root"}},
        "memory_mb": 32,
        "disk_mb": 32,
        "ports": [8080],
        "log_guid": guid,
        "log_source": "APP",
        "egress_rules": egress_rules,
    }


async def our_cell(cell: LocalCell, count: int, rules: int = 0) -> float:
    """Seconds from the first desire to the last RUNNING; the deletion afterwards is not timed."""
    guids = [f"burst-{uuid.uuid4().hex[:8]}-{i}" for i in range(count)]
    receptor = cell.receptor
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, guid in enumerate(guids):
            document = _lrp(guid, egress(number, rules))
            group.create_task(receptor.expect(201, "POST", "/v1/desired_lrps", document))

    def all_running(rows: Any) -> bool:
        return len([row for row in rows if row["state"] == "RUNNING"]) == count

    await receptor.until(
        "/v1/actual_lrps?domain=bench", all_running, what=f"{count} instances", timeout_s=300, every_s=0.1
    )
    seconds = time.monotonic() - began
    async with asyncio.TaskGroup() as group:
        for guid in guids:
            group.create_task(receptor.expect(204, "DELETE", f"/v1/desired_lrps/{guid}"))
    await receptor.until(
        "/v1/actual_lrps?domain=bench", lambda rows: rows == [], what="their end", timeout_s=300
    )
    return seconds


async def measure(counts: Sequence[int], rounds: int, rules: int) -> list[Figure]:
    """Print each round and the ratios of the medians."""
    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as folder:
        client = docker.APIClient()
        ensure_image(client, BUSYBOX_IMAGE, Path(folder))
        client.close()
        async with local_cell(Path(folder)) as cell:
            await our_cell(cell, 2)  # the first containers of an engine are slower
            await asyncio.to_thread(bare_burst, 2)
            return [await _measure_one(cell, count, rounds, rules) for count in counts]


async def _measure_one(cell: LocalCell, count: int, rounds: int, rules: int) -> Figure:
    ours: list[float] = []
    floor: list[float] = []
    for number in range(rounds):
        floor.append(await asyncio.to_thread(bare_burst, count))
        ours.append(await our_cell(cell, count, rules))
        print(
            f"round {number + 1}: bare engine {floor[-1]:6.2f} s   diego-cell {ours[-1]:6.2f} s", flush=True
        )
    burst = Figure("seconds", statistics.median(ours), "s", count, statistics.median(floor))
    print(
        f"burst n={count}, {rules} rules each: bare engine {burst.floor:.2f} s, diego-cell {burst:.2f} s, "
        f"ratio {burst.ratio:.2f}"
    )
    return burst


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[25], help="how many LRPs (default 25)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs (default 3)")
    parser.add_argument("--egress-rules", type=int, default=0, help="rules of each LRP (default 0)")
    args = parser.parse_args()
    hand_on(asyncio.run(measure(args.n, args.rounds, args.egress_rules)), args.json)


if __name__ == "__main__":
    main()
