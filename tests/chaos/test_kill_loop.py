"""Kills of the agent under load, at random moments and at failpoints: no loss, no leftovers."""

from __future__ import annotations

import asyncio
import os
import random
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from docker import APIClient

from bbs.client.http import HTTPBBSClient
from bbs.client.tls import client_context
from cell.development import APP_STACK, BUSYBOX_IMAGE, BUSYBOX_STACK
from cell.development.certs import identity_files
from cell.development.local import local_cell
from cell.development.slots import take_slots
from cell.development.stack import ensure_stack
from common.failpoints import VARIABLE
from tests.chaos.inventory import Machine
from tests.chaos.lines import AppLines
from tests.chaos.loop import Loop
from tests.chaos.plans import plan
from tests.chaos.traffic import Traffic
from tests.chaos.work import Files, TaskMill
from tests.support.local_reps import QUICK, LocalRep

ROUNDS = int(os.environ.get("DIEGO_CELL_CHAOS_ROUNDS", "5"))
APPS = 10 if ROUNDS > 5 else 6
"""At least one of each kind."""
SEED = int(os.environ.get("DIEGO_CELL_CHAOS_SEED", "0")) or random.randrange(1, 1 << 31)
FIRST = int(os.environ.get("DIEGO_CELL_CHAOS_FIRST", "1"))
"""The round to begin with: a run of the same seed goes on there."""
ROUND_LIMIT_S = 120

pytestmark = [
    pytest.mark.docker,
    pytest.mark.alone,
    pytest.mark.timeout(300 + ROUNDS * ROUND_LIMIT_S),
]


@pytest.mark.parametrize(
    "tls", [False, True] if ROUNDS > 5 else [False], ids=lambda tls: "tls" if tls else "plain"
)
async def test_nothing_is_lost(tmp_path: Path, docker_client: APIClient, tls: bool) -> None:
    stack = await asyncio.to_thread(ensure_stack, docker_client, tmp_path)
    arguments = ["--cells", "0", *(["--tls"] if tls else [])]
    print(f"seed {SEED}")
    async with (
        local_cell(tmp_path / "plane", arguments=arguments) as plane,
        Files.serving(archive()) as files,
        asyncio.TaskGroup() as group,
    ):
        identity = identity_files(tmp_path / "plane" / "tls", "rep") if tls else None
        context = (
            client_context(identity.ca_file, identity.cert_file, identity.key_file) if identity else None
        )
        folder = tmp_path / "cell"
        settings = {
            **QUICK,
            "preloaded_root_fs": [f"{BUSYBOX_STACK}:{BUSYBOX_IMAGE}", f"{APP_STACK}:{stack}"],
            "log_sinks": [f"file:{tmp_path / 'apps.log'}"],
        }
        with take_slots(1) as (slot,):
            failpoints = tmp_path / "failpoints"
            rep = LocalRep(plane, slot, folder, identity, settings, {VARIABLE: str(failpoints)})
            async with HTTPBBSClient(plane.endpoints["bbs"], ssl_context=context) as bbs:
                loop = Loop(
                    rep=rep,
                    machine=Machine(slot.cell_id, slot.nft_table, folder),
                    bbs=bbs,
                    mill=TaskMill(bbs, files),
                    lines=AppLines(tmp_path / "apps.log"),
                    traffic=Traffic(group),
                    failpoints=failpoints,
                    apps=APPS,
                )
                milling = group.create_task(loop.mill.run())
                try:
                    await asyncio.to_thread(loop.machine.clear)
                    with loop.summary.phase("begin"):
                        await loop.begin(FIRST)
                    for number in range(FIRST, FIRST + ROUNDS):
                        await loop.round(plan(SEED, number))
                        assert not (wrong := loop.verdict()), again(number, wrong)
                    with loop.summary.phase("end"):
                        await loop.end()
                finally:
                    milling.cancel()
                    await loop.traffic.close()
                    await rep.stop()
                    await asyncio.to_thread(loop.machine.clear)
                    print("\n".join(loop.report()))
    assert not (wrong := loop.verdict()), again(FIRST + ROUNDS, wrong)


def again(number: int, wrong: list[str]) -> str:
    """What was wrong, and how to repeat it."""
    return "\n".join(
        [f"DIEGO_CELL_CHAOS_SEED={SEED} DIEGO_CELL_CHAOS_FIRST={number} begins with this round", *wrong]
    )


def archive() -> bytes:
    """A .tgz of 1 MiB that does not compress."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as packed:
        member = tarfile.TarInfo("noise")
        member.size = 1 << 20
        packed.addfile(member, BytesIO(random.Random(0).randbytes(1 << 20)))
    return content.getvalue()
