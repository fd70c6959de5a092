"""List the containers of a cell that its rep does not know, or remove them.

A rep knows the containers in its journal. Another container with the cell's labels is an orphan: its record
was lost with a damaged journal, or belongs to another state folder. The rep removes orphans some time after
its start, unless they have a record again. If the rep does not run, the journal itself says what it knows.

Without --config the command shows the cells of a running `cell dev`.

  cell orphans --config /var/vcap/jobs/rep/config/rep.json
  cell orphans --config rep.json --remove

Exit status 0, also if there are orphans; 3 for invalid arguments; 4 if a rep refuses or hangs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bbs.client.transport import UnansweredError
from cell.assembly.terminal import Table
from cell.cli import Command, command
from cell.client import admin, output
from cell.client.admin import Rep
from cell.client.output import Output
from cell.client.session import BAD_ARGUMENTS, OTHER_FAILURE, ComponentFailed
from cell.client.tables import SECOND_NS, age
from executor.errors import ExecutorError
from rep.config import RepConfig, load

NOT_RECORDED = "it has no record in the journal"
ORPHANS_PATH = "/orphans"
REMOVAL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An orphan. removed_in_s: None while no rep runs. created_at: s since the epoch; 0 if unknown."""

    cell_id: str
    container_guid: str
    removed_in_s: float | None
    created_at: int = 0

    def row(self) -> dict[str, object]:
        """As a JSON object."""
        return {
            "cell_id": self.cell_id,
            "container_guid": self.container_guid,
            "created_at": self.created_at,
            "removed_in_s": self.removed_in_s,
            "reason": NOT_RECORDED,
        }


@command(
    Command,
    errors={**admin.ERRORS, ExecutorError: OTHER_FAILURE},
    usage_status=BAD_ARGUMENTS,
    params=[*output.OPTIONS],
)
@admin.rep_options
@click.option("--remove", is_flag=True, help="remove the orphans now, and list them")
def orphans(config: Path | None, state_dir: Path, remove: bool, json: bool, table: bool) -> None:
    reps = admin.reps(config, state_dir)
    settings = load(config) if config is not None else RepConfig()
    shown = Output.chosen(sys.stdout, json=json, table=table)
    found = asyncio.run(_orphans(reps, settings, is_configured=config is not None, remove=remove))
    shown.values([each.row() for each in found], lambda _: to_table(found, shown.now_ns()))
    if remove:
        shown.confirm(f"removed: {len(found)}")


def to_table(found: Sequence[Orphan], now_ns: int) -> Table:
    """One line for each orphan."""
    return Table(
        ("CELL", "CONTAINER", "AGE", "REMOVED IN", "REASON"),
        [
            (
                each.cell_id,
                each.container_guid,
                age(each.created_at * SECOND_NS, now_ns),
                "" if each.removed_in_s is None else f"{each.removed_in_s:.0f}s",
                NOT_RECORDED,
            )
            for each in found
        ],
    )


async def _orphans(
    reps: Sequence[Rep], settings: RepConfig, *, is_configured: bool, remove: bool
) -> list[Orphan]:
    found: list[Orphan] = []
    for rep in reps:
        if is_configured and not await _listens(rep):
            found += await _without_rep(settings, remove=remove)
        else:
            found += await _from_rep(rep, settings, remove=remove)
    return found


async def _listens(rep: Rep) -> bool:
    try:
        await rep.exchange("GET", "/ping")
    except UnansweredError as error:
        return not admin.refused(error)
    return True


async def _from_rep(rep: Rep, settings: RepConfig, *, remove: bool) -> list[Orphan]:
    """The orphans that a rep knows. Raises ComponentFailed, BadArguments."""
    overview = await rep.document(ORPHANS_PATH, "orphans")
    ages = await asyncio.to_thread(_created, settings, rep.cell_id) if overview["orphans"] else {}
    found = [
        Orphan(
            cell_id=rep.cell_id,
            container_guid=str(row["container_guid"]),
            removed_in_s=float(row["removed_in_s"]),
            created_at=ages.get(str(row["container_guid"]), 0),
        )
        for row in overview["orphans"]
    ]
    for orphan in found if remove else ():
        path = f"{ORPHANS_PATH}/{orphan.container_guid}"
        try:
            answer = await rep.exchange("DELETE", path, timeout_s=REMOVAL_TIMEOUT_S)
        except UnansweredError as error:
            raise ComponentFailed(f"cell {rep.cell_id}: {error}") from error
        if answer.status not in (204, 404):
            answered = answer.body.decode("utf-8", "replace").strip()
            raise ComponentFailed(f"cell {rep.cell_id}: container {orphan.container_guid}: {answered}")
    return found


async def _without_rep(settings: RepConfig, *, remove: bool) -> list[Orphan]:
    """The orphans of a cell whose rep does not run. Raises CommandError, ExecutorError."""
    # A local import: a running rep is asked without the container engine's client.
    from cell.assembly.orphans import engine_of, recorded, without_rep

    with without_rep(settings):
        async with engine_of(settings) as engine:
            guids = sorted(await engine.list_guids() - await asyncio.to_thread(recorded, settings))
            ages = await asyncio.to_thread(_created, settings, settings.cell_id) if guids else {}
            for guid in guids if remove else ():
                await engine.destroy(guid)
    return [
        Orphan(
            cell_id=settings.cell_id,
            container_guid=guid,
            removed_in_s=None,
            created_at=ages.get(guid, 0),
        )
        for guid in guids
    ]


def _created(settings: RepConfig, cell_id: str) -> Mapping[str, int]:
    """The times at which the engine created a cell's containers, by guid. Raises CommandError."""
    # Local imports: the container engine's client is needed for orphans only.
    from cell.development.images import engine_client
    from executor.engine.createrequest import LABEL_CELL, LABEL_GUID

    with engine_client(settings.docker_host) as client:
        found = client.containers(all=True, filters={"label": f"{LABEL_CELL}={cell_id}"})
    return {str(each["Labels"].get(LABEL_GUID, "")): int(each["Created"]) for each in found}
