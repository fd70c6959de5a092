"""List the outcomes of containers that the BBS has not recorded yet, and why they wait.

The rep reports how each container ended. It keeps the report on disk, and repeats it until the BBS has
answered. Without --config the command shows the cells of a `cell dev`.

  cell outcomes
  cell outcomes --config /var/vcap/jobs/rep/config/rep.json

Exit status 0, also if outcomes wait; 3 for invalid arguments; 4 if a rep does not answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cell.assembly.terminal import Table
from cell.cli import Command, command
from cell.client import admin, output
from cell.client.admin import Rep
from cell.client.output import Output
from cell.client.session import BAD_ARGUMENTS
from cell.client.tables import SECOND_NS, age


@command(
    Command,
    errors=admin.ERRORS,
    usage_status=BAD_ARGUMENTS,
    params=[*output.OPTIONS],
)
@admin.rep_options
def outcomes(config: Path | None, state_dir: Path, json: bool, table: bool) -> None:
    reps = admin.reps(config, state_dir)
    shown = Output.chosen(sys.stdout, json=json, table=table)
    overviews = asyncio.run(_overviews(reps))
    rows = [
        {"cell_id": rep.cell_id, **row}
        for rep, overview in zip(reps, overviews, strict=True)
        for row in overview["outcomes"]
    ]
    shown.values(rows, lambda found: to_table(found, shown.now_ns()))
    for rep, overview in zip(reps, overviews, strict=True):
        if not overview["bbs_available"]:
            shown.confirm(f"{rep.cell_id}: the BBS did not answer the last report")
        if overview["journal_trouble"]:
            shown.confirm(f"{rep.cell_id}: reports cannot be stored: {overview['journal_trouble']}")


def to_table(rows: Sequence[dict[str, Any]], now_ns: int) -> Table:
    """One line for each waiting report."""
    headers = ("CELL", "CONTAINER", "REPORT", "AGE", "ATTEMPTS", "NEXT", "ANSWER")
    return Table(
        headers,
        [
            (
                row["cell_id"],
                row["container_guid"],
                row["report"],
                age(int(row["recorded_at"] * SECOND_NS), now_ns),
                str(row["attempts"]),
                f"{row['next_attempt_in_s']:.1f}s",
                row["answer"],
            )
            for row in rows
        ],
    )


async def _overviews(found: Sequence[Rep]) -> list[dict[str, Any]]:
    return await asyncio.gather(*(rep.document("/outcomes", "outcomes") for rep in found))
