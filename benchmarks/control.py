"""The control plane and the rep with many records: run times, and their growth.

Everything uses real sockets, on one machine, in one process: the times of both sides add up. Each figure is
measured at a tenth of the size and at full size. ``growth`` is the CPU time at full size divided by ten times
the CPU time at the small size: 1.0 is linear, less is better. CPU time is used because other programs may use
the machine as well.

    .venv/bin/python -m benchmarks.control
    .venv/bin/python -m benchmarks.control --scale 0.1

Two parts also have a floor in CPU time: for the auction, a sort of the same starts; for the list of all
instances, a plain read of their stored form with SQLite.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc.aio

from bbs.embedded.auctioneer.schedule import schedule
from bbs.models.auction import LRP, CellState, Demand, RootFSProvider
from bbs.models.auction import Resources as CellResources
from bbs.models.locket import TypeCode
from bbs.wire import locket as wire
from bbs.wire.proto import locket_pb2
from bbs.wire.routes import ACTUAL_LRPS
from benchmarks.figures import Figure, arguments_of, hand_on
from benchmarks.planes import INSTANCES, NET_INFO, filled, instance_key, lrp_key
from cell.assembly.process import relax_garbage_collector
from executor.api import ExecutorAPI
from executor.journal.sqlite import SQLiteJournal
from executor.model import Container, ContainerState, MetricsConfig, RunInfo
from rep import tags
from rep.ecr import RegistryCredentials
from rep.evacuation import EvacuationFlag
from rep.metrics import NoMetrics
from rep.outcomes.courier import Courier
from rep.outcomes.ledger import Ledger
from rep.outcomes.sender import Sender
from rep.reconcile.bulk import Bulker
from rep.reconcile.processor import Cell, Processor
from rep.reconcile.queue import OperationQueue
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder

CELLS = 100
AUCTION_CELLS = 1000
SUBSCRIBERS = 50
EVENTS = 10_000
BURST = 50
"""LRPs whose instances are claimed at the same time."""


@dataclass
class Clock:
    """Wall and CPU seconds of a block. floor: CPU seconds of the floor, where there is one."""

    wall: float = 0.0
    cpu: float = 0.0
    floor: float | None = None


@contextmanager
def timed() -> Iterator[Clock]:
    clock = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    yield clock
    clock.wall, clock.cpu = time.perf_counter() - wall, time.process_time() - cpu


def median(clocks: Sequence[Clock]) -> Clock:
    floors = [clock.floor for clock in clocks if clock.floor is not None]
    return Clock(
        statistics.median(clock.wall for clock in clocks),
        statistics.median(clock.cpu for clock in clocks),
        statistics.median(floors) if floors else None,
    )


async def list_by_cell(desired: int) -> Clock:
    """Seconds to list one cell's rows, a hundredth of all."""
    async with filled(desired, CELLS) as plane:
        taken = []
        for number in range(20):
            with timed() as clock:
                rows = await plane.client.actual_lrps(cell_id=f"cell-{number:03}")
            assert len(rows) == desired * INSTANCES // CELLS
            taken.append(clock)
    return median(taken)


async def _list_all(port: int, session: aiohttp.ClientSession) -> int:
    """Bytes of a list of all instances, which a client in another process would decode."""
    url = f"http://127.0.0.1:{port}{ACTUAL_LRPS.path}"
    async with session.post(url, data=b"") as answer:
        return len(await answer.read())


async def list_all(desired: int) -> Clock:
    """Seconds to list all instances."""
    taken = []
    async with filled(desired, CELLS) as plane, aiohttp.ClientSession() as session:
        for _ in range(7):
            with timed() as clock:
                assert await _list_all(plane.port, session) > desired * INSTANCES * 50
            taken.append(clock)
            with timed() as floor:
                assert _plain_read(plane.file) > desired * INSTANCES * 50
            clock.floor = floor.cpu
    return median(taken)


def _plain_read(file: Path) -> int:
    """Bytes of the stored form of all instances."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return len(b"".join(payload for (payload,) in connection.execute("SELECT payload FROM actual_lrps")))


async def longest_write_in_list(desired: int) -> Clock:
    """Longest write to the BBS while all instances are listed."""
    async with filled(desired, CELLS) as plane, aiohttp.ClientSession() as session:
        listing = asyncio.create_task(_list_all(plane.port, session))
        longest = Clock()
        while not listing.done():
            with timed() as clock:
                await plane.client.upsert_domain("bench", 60)
            longest = max(longest, clock, key=lambda one: one.wall)
        await listing
    return longest


async def renewals(count: int) -> Clock:
    """Seconds for ``count`` renewals of presences, both sides."""
    async with (
        filled(0, AUCTION_CELLS) as plane,
        plane.bbs.locket_server("127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        lock = channel.unary_unary(wire.LOCK.path, bytes, bytes)
        resources = plane.bbs.controllers.deps.registry.fetch_all(TypeCode.PRESENCE)
        requests = [
            locket_pb2.LockRequest(
                resource=wire.resource_to_wire(each), ttl_in_seconds=10**6
            ).SerializeToString()
            for each in resources
        ]
        with timed() as clock:
            for number in range(count):
                await lock(requests[number % len(requests)])
    return clock


async def convergence(desired: int) -> Clock:
    """Seconds of a convergence pass that finds nothing to do."""
    async with filled(desired, CELLS) as plane:
        taken = []
        for _ in range(3):
            with timed() as clock:
                await plane.bbs.converge_now()
            taken.append(clock)
    return median(taken)


async def longest_pause_in_convergence(desired: int) -> Clock:
    """Longest delay of a ping during a pass."""
    async with filled(desired, CELLS) as plane:
        pass_ = asyncio.create_task(plane.bbs.converge_now())
        longest = Clock()
        while not pass_.done():
            with timed() as clock:
                await plane.client.ping()
            longest = max(longest, clock, key=lambda one: one.wall)
        await pass_
    return longest


async def fan_out(events: int) -> Clock:
    """Seconds from the first call, in bursts of 250, until 50 subscribers have read ``events`` changes."""
    async with filled(events // INSTANCES, CELLS) as plane, asyncio.TaskGroup() as group:
        heads = [asyncio.Event() for _ in range(SUBSCRIBERS)]
        readers = [group.create_task(_read(plane.port, events, head)) for head in heads]
        for head in heads:
            await head.wait()
        lrps = plane.bbs.controllers.lrps
        with timed() as clock:
            numbers = range(events // INSTANCES)
            for first in range(0, len(numbers), BURST):
                await asyncio.gather(
                    *(
                        lrps.claim(f"app-{number:06}", index, instance_key(number, index, CELLS))
                        for number in numbers[first : first + BURST]
                        for index in range(INSTANCES)
                    )
                )
            await asyncio.gather(*readers)
    return clock


async def _read(port: int, events: int, head: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    head.set()
    seen = 0
    rest = b""
    while seen < events:
        block = await reader.read(1 << 16)
        assert block, f"the stream ended after {seen} events"
        *lines, rest = (rest + block).split(b"\n")
        seen += sum(line.startswith(b"data: ") for line in lines)
    writer.close()


class StillExecutor:
    """Containers that run without any work."""

    def __init__(self, containers: Sequence[Container]) -> None:
        self._containers = {container.guid: container for container in containers}

    def containers(self) -> list[Container]:
        return list(self._containers.values())

    def container(self, guid: str) -> Container:
        return self._containers[guid]


@asynccontextmanager
async def _temporary_journal() -> AsyncIterator[SQLiteJournal]:
    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as folder:
        async with SQLiteJournal(Path(folder)) as journal:
            yield journal


async def bulk_pass(containers: int) -> Clock:
    """Seconds of a rep's pass over ``containers`` running ones: two lists, and a start call for each."""
    async with (
        filled(containers // INSTANCES, 1) as plane,
        _temporary_journal() as journal,
    ):
        running = []
        for number in range(containers // INSTANCES):
            for index in range(INSTANCES):
                guid = instance_key(number, index, 1).instance_guid
                running.append(
                    Container(
                        guid=guid,
                        state=ContainerState.RUNNING,
                        external_ip=NET_INFO.address,
                        internal_ip=NET_INFO.instance_address,
                        routable=True,
                        run_info=RunInfo(
                            metrics_config=MetricsConfig(tags={"source_id": f"app-{number:06}"})
                        ),
                        tags=tags.lrp_tags(lrp_key(number, index), guid, None, None),
                    )
                )
        executor = cast(ExecutorAPI, StillExecutor(running))
        removals = Removals()
        processor = Processor(
            Cell(cell_id="cell-000"),
            executor,
            plane.client,
            RunRequestBuilder(stacks=StackMap({})),
            RegistryCredentials(),
            removals,
            Courier(Ledger(journal), Sender(plane.client, "cell-000"), removals),
        )
        queue = OperationQueue(processor.execute)
        bulker = Bulker(
            "cell-000",
            executor,
            plane.client,
            queue.push,
            EvacuationFlag(),
            NoMetrics(),
            interval_s=3600,
            evacuation_interval_s=3600,
        )
        taken = []
        async with queue.open():
            for _ in range(3):
                with timed() as clock:
                    await bulker.sync()
                    await queue.join()
                taken.append(clock)
    return median(taken)


def _cell_states(cells: int) -> list[CellState]:
    plenty = CellResources(memory_mb=65536, disk_mb=65536, containers=250)
    return [
        CellState(
            cell_id=f"cell-{number:03}",
            cell_index=number,
            zone=f"z{number % 2}",
            rootfs_providers={"preloaded": RootFSProvider.fixed_set("busybox")},
            available_resources=plenty,
            total_resources=plenty,
        )
        for number in range(cells)
    ]


async def auction(starts: int) -> Clock:
    """Seconds to place ``starts`` uniform starts on 1,000 cells."""
    demand = Demand(root_fs="preloaded:busybox", memory_mb=64, disk_mb=64)
    states = _cell_states(AUCTION_CELLS)
    work = [LRP(process_guid="app", index=index, domain="bench", demand=demand) for index in range(starts)]
    taken = []
    for _ in range(5):
        with timed() as clock:
            placed = schedule(states, work, [])
        taken.append(clock)
        with timed() as floor:
            sorted(work, key=lambda lrp: (lrp.process_guid, lrp.index))
        clock.floor = floor.cpu
    spread = Counter({state.cell_id: 0 for state in states})
    spread.update({cell_id: len(given.lrps) for cell_id, given in placed.work.items()})
    assert not placed.failures
    assert max(spread.values()) - min(spread.values()) <= 1, spread
    return median(taken)


PARTS: Mapping[str, tuple[Callable[[int], Any], int, str]] = {
    "list by cell": (list_by_cell, 10_000, "desired LRPs, five instances each, a hundredth on the cell"),
    "list all": (list_all, 10_000, "desired LRPs, five instances each"),
    "longest write in it": (longest_write_in_list, 10_000, "desired LRPs, five instances each"),
    "renewals": (renewals, 2000, f"renewals of {AUCTION_CELLS} presences, 200 a second in use"),
    "convergence": (convergence, 10_000, "desired LRPs, five instances each"),
    "longest wait in it": (longest_pause_in_convergence, 10_000, "desired LRPs, five instances each"),
    "event fan-out": (fan_out, EVENTS, f"events to {SUBSCRIBERS} subscribers"),
    "bulk pass": (bulk_pass, 1000, "containers of a rep"),
    "auction": (auction, 10_000, f"starts over {AUCTION_CELLS} cells, spread within one"),
}


async def measure(names: Sequence[str], scale: float) -> list[Figure]:
    """Print one line per part."""
    figures: list[Figure] = []
    for name in names:
        part, size, what = PARTS[name]
        full = max(int(size * scale), 10 * INSTANCES)
        small = await part(full // 10)
        large = await part(full)
        growth = large.cpu / (10 * small.cpu)
        print(
            f"{name:20} {full:6} {what}: {large.wall * 1000:9.1f} ms, {large.cpu * 1000:9.1f} ms of CPU   "
            f"(a tenth: {small.wall * 1000:8.1f} ms, {small.cpu * 1000:8.1f} ms; growth {growth:.2f})",
            flush=True,
        )
        key = name.replace(" ", "_").replace("-", "_")
        for at, clock in ((full // 10, small), (full, large)):
            figures += [
                Figure(key, clock.wall, "s", at),
                Figure(f"{key}_cpu", clock.cpu, "s", at, clock.floor),
            ]
        figures += [
            Figure(f"{key}_cpu_each", 1000 * large.cpu / full, "ms"),
            Figure(f"{key}_growth", growth, "x"),
        ]
    return figures


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes (default 1)")
    parser.add_argument("--only", choices=PARTS, action="append", help="just this part; may be repeated")
    args = parser.parse_args()
    relax_garbage_collector()
    hand_on(asyncio.run(measure(args.only or list(PARTS), args.scale)), args.json)


if __name__ == "__main__":
    main()
