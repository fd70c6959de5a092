"""Delete an LRP or a pushed app; all its instances stop.

With --task, delete a completed Task.

  cell delete web
  cell delete --task build-17
"""

from __future__ import annotations

import click

from cell.apps import suggestions
from cell.apps.lookup import for_each_lrp
from cell.client.session import Session, bbs_command


@bbs_command()
@click.argument(
    "guid",
    metavar="GUID",
    shell_complete=suggestions.pushed_or_tasks,
    help="GUID of the LRP or name of the app; with --task, GUID of the Task",
)
@click.option("--task", is_flag=True, help="delete a Task")
async def delete(session: Session, guid: str, task: bool) -> None:
    if task:
        await session.bbs.resolving_task(guid)
        await session.bbs.delete_task(guid)
        deleted = [guid]
    else:
        deleted = await for_each_lrp(session, guid, session.bbs.remove_desired_lrp)
    for each in deleted:
        session.output.confirm(f"{each} is deleted")
