"""Burst benchmark: the time from N desired LRPs to N running instances, against the bare engine.

Both sides run on one machine, in turns. The floor is the engine alone: 8 workers with the same SDK, each of
which creates, starts and execs a container with the same image, init, mounts, limits and network. Our side is
`cell dev` through its REST API: the time from the first POST until the last instance is RUNNING. It includes
everything: store, auction, claim, ports, logs and, with --egress-rules, that many different rules for each
LRP. The bare engine maps no ports and has no rules.

    .venv/bin/python benchmarks/burst.py --n 25
    .venv/bin/python benchmarks/burst.py --n 100 --egress-rules 100
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker

from cell.development import BUSYBOX_IMAGE
from cell.development.images import ensure_image
from cell.development.local import LocalCell, local_cell

WORKERS = 8


def bare_engine(count: int) -> float:
    """Seconds for the engine alone; the clean-up is not timed."""
    client = docker.APIClient(num_pools=WORKERS * 2)
    network = client.create_network(f"burst-{uuid.uuid4().hex[:8]}", driver="bridge")["Id"]
    made: list[str] = []

    def one(_: int) -> None:
        host = client.create_host_config(
            binds={
                "/usr/bin/catatonit": {"bind": "/.cell/init", "mode": "ro"},
                "/bin/busybox": {"bind": "/.cell/busybox", "mode": "ro"},
            },
            mem_limit=32 << 20,
            memswap_limit=32 << 20,
            pids_limit=64,
            log_config={"Type": "none"},
            network_mode=network,
        )
        container: str = client.create_container(
            BUSYBOX_IMAGE, entrypoint=["/.cell/init", "-P"], host_config=host, user="root"
        )["Id"]
        made.append(container)
        client.start(container)
        process = client.exec_create(container, ["/bin/sleep", "1000"], stdout=False, stderr=False)["Id"]
        client.exec_start(process, detach=True)

    try:
        began = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(one, range(count)))
        return time.monotonic() - began
    finally:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda c: client.remove_container(c, force=True, v=True), made))
        client.remove_network(network)
        client.close()


def _egress(number: int, count: int) -> list[dict[str, Any]]:
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
            document = _lrp(guid, _egress(number, rules))
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


async def measure(count: int, rounds: int, rules: int) -> None:
    """Print each round and the ratio of the medians."""
    ours: list[float] = []
    floor: list[float] = []
    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as folder:
        client = docker.APIClient()
        ensure_image(client, BUSYBOX_IMAGE, Path(folder))
        client.close()
        async with local_cell(Path(folder)) as cell:
            await our_cell(cell, 2)  # the first containers of an engine are slower
            await asyncio.to_thread(bare_engine, 2)
            for number in range(rounds):
                floor.append(await asyncio.to_thread(bare_engine, count))
                ours.append(await our_cell(cell, count, rules))
                print(
                    f"round {number + 1}: bare engine {floor[-1]:6.2f} s   diego-cell {ours[-1]:6.2f} s",
                    flush=True,
                )
    a, b = statistics.median(floor), statistics.median(ours)
    print(
        f"burst n={count}, {rules} rules each: bare engine {a:.2f} s, diego-cell {b:.2f} s, ratio {b / a:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=25, help="how many LRPs (default 25)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs (default 3)")
    parser.add_argument("--egress-rules", type=int, default=0, help="rules of each LRP (default 0)")
    args = parser.parse_args()
    asyncio.run(measure(args.n, args.rounds, args.egress_rules))


if __name__ == "__main__":
    main()
