"""List Tasks, or show one.

cell tasks                 all Tasks
cell tasks -c cell-1       those on one cell
cell tasks build-17        one Task
"""

from __future__ import annotations

import click

from cell.apps import suggestions
from cell.client import tables
from cell.client.session import Session, bbs_command


@bbs_command()
@click.argument(
    "task_guid", default="", metavar="[GUID]", shell_complete=suggestions.tasks, help="only this Task"
)
@suggestions.DOMAIN
@suggestions.CELL
async def tasks(session: Session, task_guid: str, domain: str, cell: str) -> None:
    if task_guid:
        rows = [await session.bbs.task(task_guid)]
    else:
        rows = await session.bbs.tasks(domain=domain, cell_id=cell)
    session.output.models(rows, tables.tasks)
