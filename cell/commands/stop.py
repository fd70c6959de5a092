"""Stop one or all instances of an LRP; desired instances are started again. With --task, cancel a Task.

cell stop web -i 0
cell stop web 0
cell stop web
cell stop --task build-17
"""

from __future__ import annotations

import click

from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.errors import BBSError, ErrorType
from cell.apps import suggestions
from cell.client.session import Session, bbs_command
from cell.client.target import BadArguments
from cell.client.values import index


@bbs_command()
@click.argument(
    "guid",
    metavar="GUID",
    shell_complete=suggestions.lrps_or_tasks,
    help="GUID of the LRP; with --task, GUID of the Task",
)
@click.argument(
    "position", type=index, required=False, metavar="[INDEX]", help="only this instance (default: all)"
)
@click.option("-i", "--index", type=index, metavar="INDEX", help="only this instance")
@click.option("--task", is_flag=True, help="cancel a Task")
async def stop(session: Session, guid: str, position: int | None, index: int | None, task: bool) -> None:
    if index is not None and position not in (None, index):
        raise BadArguments(f"INDEX is given twice: {position} and --index {index}")
    wanted = position if index is None else index
    if not task:
        await _retire(guid, wanted, session)
        return
    if wanted is not None:
        raise BadArguments("a Task has no INDEX")
    await session.bbs.cancel_task(guid)
    session.output.confirm(f"{guid} is cancelled")


async def _retire(guid: str, index: int | None, session: Session) -> None:
    """Stop one instance, or all for None. Raises BadArguments, BBSError."""
    try:
        lrp = await session.bbs.desired_lrp(guid)
    except BBSError as error:
        if await _is_of_task(error, guid, session):
            raise BadArguments(f"{guid} is a Task: cancel it with `cell stop --task {guid}`") from error
        raise
    if index is None:
        rows = await session.bbs.actual_lrps(process_guid=guid)
        indices = sorted({row.actual_lrp_key.index for row in rows})
    else:
        indices = [index]
    for number in indices:
        await session.bbs.retire_actual_lrp(ActualLRPKey(process_guid=guid, index=number, domain=lrp.domain))
        session.output.confirm(f"{guid}/{number} is asked to stop")


async def _is_of_task(error: BBSError, guid: str, session: Session) -> bool:
    """Whether the missing LRP's name is a Task's; for people only, programs get cfdot's answer."""
    if error.type is not ErrorType.ResourceNotFound or not session.output.for_people:
        return False
    try:
        await session.bbs.task(guid)
    except BBSError:
        return False
    return True
