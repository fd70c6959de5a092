"""Cells that can be killed, under one control plane, with what the loops need to watch them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from bbs.client.http import HTTPBBSClient
from bbs.client.tls import client_context
from cell.development import APP_STACK, BUSYBOX_IMAGE, BUSYBOX_STACK
from cell.development.certs import identity_files
from cell.development.images import ensure_image
from cell.development.local import LocalCellError, local_cell
from cell.development.slots import take_slots
from cell.development.stack import ensure_stack
from common.failpoints import VARIABLE
from common.tasks import running
from tests.chaos.inventory import ENGINE, Machine
from tests.chaos.lines import AppLines
from tests.chaos.observer import Observer
from tests.chaos.summary import Summary
from tests.chaos.traffic import Traffic
from tests.chaos.work import Files, TaskMill, archive
from tests.support.local_reps import QUICK, LocalRep


@dataclass
class Killable:
    """A cell whose agent can be killed at failpoints. failpoints: a file that the agent looks at."""

    rep: LocalRep
    machine: Machine
    failpoints: Path
    summary: Summary

    def arm(self, failpoint: str) -> None:
        """A failpoint, as in the variable, in the running agent or in the next one; empty for none."""
        new = self.failpoints.with_suffix(".new")
        new.write_text(failpoint)
        os.replace(new, self.failpoints)

    async def start(self, failpoint: str = "") -> None:
        """Start the agent; a failpoint may end it before it is up."""
        self.arm(failpoint)
        began = time.monotonic()
        try:
            await self.rep.start()
        except LocalCellError:
            if not failpoint or not self.rep.has_ended:
                raise
        else:
            self.summary.starts_s.append(time.monotonic() - began)

    async def remove(self) -> None:
        """Stop it, and remove what it has on the machine."""
        await self.rep.stop()
        await asyncio.to_thread(self.machine.clear)
        keys = json.loads(self.rep.config.read_text())
        if keys["on_stop"] != "destroy":
            self.rep.config.write_text(json.dumps({**keys, "on_stop": "destroy"}))
            await self.start()
            await self.rep.stop()

    async def die(self, within_s: float) -> None:
        """At the armed failpoint, or else after some time."""
        failpoint = self.failpoints.read_text().partition("=")[0]
        deadline = time.monotonic() + within_s
        while not self.rep.has_ended and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing notifies
            await asyncio.sleep(0.01)
        self.summary.died(failpoint or "random moment", late=bool(failpoint) and not self.rep.has_ended)
        await self.rep.kill()


@asynccontextmanager
async def observed_cells(
    folder: Path,
    count: int,
    *,
    docker_host: str = ENGINE,
    tls: bool = False,
    on_stop: str = "destroy",
    convergence_s: int = 30,
) -> AsyncIterator[tuple[Sequence[Killable], Observer]]:
    """So many cells on one engine, none of them started. At the end they are gone, with all they have.

    on_stop: what a stop means for the containers. convergence_s: between two convergences of the BBS.
    """
    images = await asyncio.to_thread(_images, docker_host, folder)
    arguments = ["--cells", "0", "--convergence-interval", str(convergence_s), *(["--tls"] if tls else [])]
    async with (
        local_cell(folder / "plane", arguments=arguments) as plane,
        Files.serving(archive()) as files,
        AsyncExitStack() as stack,
    ):
        identity = identity_files(folder / "plane" / "tls", "rep") if tls else None
        context = (
            client_context(identity.ca_file, identity.cert_file, identity.key_file) if identity else None
        )
        bbs = await stack.enter_async_context(HTTPBBSClient(plane.endpoints["bbs"], ssl_context=context))
        slots = stack.enter_context(take_slots(count))
        summary, cells = Summary(), []
        for slot in slots:
            place = folder / slot.cell_id
            settings = {
                **QUICK,
                "docker_host": docker_host,
                "on_stop": on_stop,
                "preloaded_root_fs": images,
                "log_sinks": [f"file:{folder / slot.cell_id}.log"],
            }
            failpoints = folder / f"{slot.cell_id}.failpoints"
            rep = LocalRep(plane, slot, place, identity, settings, {VARIABLE: str(failpoints)})
            machine = Machine(slot.cell_id, slot.nft_table, place, docker_host)
            cells.append(Killable(rep, machine, failpoints, summary))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        mill = TaskMill(bbs, files)
        observer = Observer(
            bbs=bbs,
            machines=[each.machine for each in cells],
            mill=mill,
            lines=AppLines([folder / f"{slot.cell_id}.log" for slot in slots]),
            traffic=Traffic(group),
            summary=summary,
        )
        async with running(mill.run(), "the Tasks' mill"):
            try:
                for each in cells:
                    await asyncio.to_thread(each.machine.clear)
                yield cells, observer
            finally:
                await observer.traffic.close()
                for each in cells:
                    await each.remove()


def _images(docker_host: str, folder: Path) -> list[str]:
    """The root filesystems of the stacks, made in the engine if it lacks them."""
    client = docker.APIClient(docker_host, version="auto")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ensure_image(client, BUSYBOX_IMAGE, folder)
        return [f"{BUSYBOX_STACK}:{BUSYBOX_IMAGE}", f"{APP_STACK}:{ensure_stack(client, folder)}"]
    finally:
        client.close()
