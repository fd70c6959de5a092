"""An embedded BBS with many records, for the benchmarks of the control plane."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbs.client.http import HTTPBBSClient
from bbs.embedded.calls.callbacks import HTTPCallbacks
from bbs.embedded.calls.destinations import Destinations
from bbs.embedded.calls.reps import RepClient
from bbs.embedded.decisions.lrps import Outcome
from bbs.embedded.decisions.rows import Rows
from bbs.embedded.service import BBS, STATE_FILE, run_bbs
from bbs.embedded.store.resources import Registry
from bbs.embedded.store.tables import Tables
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, Presence
from bbs.models.cell import CellCapacity, CellPresence
from bbs.models.codec import dumps
from bbs.models.common import MetricTagValue, ModificationTag
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.locket import Resource, TypeCode
from bbs.serving.address import Address, listening
from bbs.serving.listener import serving

INSTANCES = 5
"""Instances of each LRP."""


@dataclass(frozen=True)
class Filled:
    """A running BBS, a client of it, the port it listens on, and its state file."""

    bbs: BBS
    client: HTTPBBSClient
    port: int
    file: Path


class IdleAuctioneer:
    """An auctioneer that accepts requests and does nothing."""

    async def request_lrps(self, requests: list[Any], trace_id: str = "") -> None: ...

    async def request_tasks(self, requests: list[Any], trace_id: str = "") -> None: ...


def lrp_key(number: int, index: int) -> ActualLRPKey:
    return ActualLRPKey(process_guid=f"app-{number:06}", index=index, domain="bench")


def instance_key(number: int, index: int, cells: int) -> ActualLRPInstanceKey:
    position = number * INSTANCES + index
    return ActualLRPInstanceKey(
        instance_guid=f"instance-{position:07}", cell_id=f"cell-{position % cells:03}"
    )


NET_INFO = ActualLRPNetInfo(address="10.0.0.1", instance_address="10.255.0.2")


def _fill(tables: Tables, desired: int, cells: int, now: int) -> None:
    for number in range(desired):
        guid = f"app-{number:06}"
        lrp = DesiredLRP(
            process_guid=guid,
            domain="bench",
            root_fs="preloaded:busybox",
            instances=INSTANCES,
            action=RunAction(path="/app", user="vcap"),
            routes={"cf-router": f'[{{"hostnames":["{guid}.example.com"],"port":8080}}]'.encode()},
            metric_tags={"source_id": MetricTagValue(static=guid)},
            modification_tag=ModificationTag(epoch=guid),
        )
        tables.insert_desired_lrp(lrp, "")
        for index in range(INSTANCES):
            row = ActualLRP(
                actual_lrp_key=lrp_key(number, index),
                actual_lrp_instance_key=instance_key(number, index, cells),
                actual_lrp_net_info=NET_INFO,
                state="RUNNING",
                since=now,
                modification_tag=ModificationTag(epoch=f"{guid}-{index}"),
                presence=Presence.ORDINARY,
                metric_tags={"source_id": guid},
                routable=True,
            )
            tables.apply(Rows(), Outcome(after=Rows(ordinary=row)))
    tables.upsert_domain("bench", None)
    tables.notices.clear()


def _register(registry: Registry, cells: int) -> None:
    for number in range(cells):
        cell = CellPresence(
            cell_id=f"cell-{number:03}",
            rep_address="http://127.0.0.1:1",
            rep_url="http://127.0.0.1:1",
            zone=f"z{number % 3}",
            capacity=CellCapacity(memory_mb=65536, disk_mb=65536, containers=1000),
        )
        registry.lock(
            Resource(key=cell.cell_id, owner="o", value=dumps(cell), type_code=TypeCode.PRESENCE), 10**6
        )


@asynccontextmanager
async def filled(desired: int, cells: int) -> AsyncIterator[Filled]:
    """A BBS with ``desired`` LRPs, all instances running, and a client of it."""
    with (
        tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as folder,
        listening(Address("127.0.0.1", 0), "the benchmark") as bound,
    ):
        async with (
            RepClient() as reps,
            HTTPCallbacks(destinations=Destinations()) as callbacks,
            run_bbs(
                Path(folder),
                auctioneer=IdleAuctioneer(),
                reps=reps,
                callbacks=callbacks,
                convergence_interval_s=3600,
            ) as bbs,
            serving(bbs.app, bound),
            HTTPBBSClient(f"http://127.0.0.1:{bound.getsockname()[1]}") as client,
        ):
            deps = bbs.controllers.deps
            await deps.store.run(lambda tables: _fill(tables, desired, cells, deps.clock.wall()))
            _register(deps.registry, cells)
            yield Filled(bbs, client, bound.getsockname()[1], Path(folder) / STATE_FILE)
