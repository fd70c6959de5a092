"""Evacuate a cell, and wait until it has ended.

The cell takes no more work, asks the control plane for replacements, and keeps each instance until its
replacement runs. Tasks run to their end. After `evacuation_timeout` it ends what is left.

Without --config the command drains a cell of `cell dev`; CELL is necessary if it has several.

  cell drain --config /var/vcap/jobs/rep/config/rep.json
  cell drain cell-2

A restart of the rep does not end an evacuation: the next process goes on with it.
Exit status 0 when the cell has ended; 3 for invalid arguments; 4 if the rep refuses, or hangs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bbs.client.transport import UnansweredError
from bbs.models.codec import InvalidDocument, parse
from cell.cli import Command, command
from cell.client import admin
from cell.client.admin import Rep
from cell.client.output import Output
from cell.client.session import BAD_ARGUMENTS, ComponentFailed
from cell.client.target import BadArguments

LATE_ANSWERS = 6
"""Number of late answers in a row of a rep that hangs."""
PING_INTERVAL_S = 0.5
"""Pause between two pings."""


@command(Command, errors=admin.ERRORS, usage_status=BAD_ARGUMENTS)
@click.argument("cell_id", required=False, metavar="[CELL]")
@admin.rep_options
@click.option("--no-wait", is_flag=True, help="start the evacuation, and do not wait for its end")
def drain(cell_id: str | None, config: Path | None, state_dir: Path, no_wait: bool) -> None:
    rep = chosen(admin.reps(config, state_dir), cell_id)
    asyncio.run(_drain(rep, Output(sys.stdout, for_people=True), wait=not no_wait))


def chosen(reps: Sequence[Rep], cell_id: str | None) -> Rep:
    """The named rep, or the only one. Raises BadArguments."""
    named = [rep for rep in reps if cell_id in (None, rep.cell_id)]
    if len(named) == 1:
        return named[0]
    known = ", ".join(rep.cell_id for rep in reps) or "none"
    raise BadArguments(f"no cell {cell_id}: known {known}" if cell_id else f"name one cell of {known}")


async def _drain(rep: Rep, shown: Output, *, wait: bool) -> None:
    """Raises ComponentFailed, BadArguments."""
    try:
        answer = await rep.exchange("POST", "/evacuate")
        document = parse(answer.body) if answer.status == 202 else None
    except (UnansweredError, InvalidDocument) as error:
        raise ComponentFailed(f"cell {rep.cell_id}: {error}") from error
    if not isinstance(document, dict):
        raise ComponentFailed(f"cell {rep.cell_id}: {rep.admin}/evacuate answered {answer.status}")
    shown.confirm(f"{rep.cell_id}: evacuating")
    if wait:
        await _until_ended(rep, str(document.get("ping_path", "/ping")))
        shown.confirm(f"{rep.cell_id}: ended")


async def _until_ended(rep: Rep, ping_path: str) -> None:
    """Wait until the rep does not listen any more. Raises ComponentFailed for one that hangs."""
    late = 0
    while late < LATE_ANSWERS:
        try:
            await rep.exchange("GET", ping_path)
        except UnansweredError as error:
            if admin.refused(error):
                return
            late += 1
        else:
            late = 0
        await asyncio.sleep(PING_INTERVAL_S)
    raise ComponentFailed(f"cell {rep.cell_id}: it does not answer any more")
