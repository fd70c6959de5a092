"""Change the number of instances of an LRP or a pushed app.

cell scale web 3
"""

from __future__ import annotations

import click

from bbs.models.desired_lrp import DesiredLRPUpdate
from cell.apps import suggestions
from cell.apps.lookup import for_each_lrp
from cell.client.session import Session, bbs_command
from cell.client.values import count


@bbs_command()
@click.argument(
    "guid", metavar="GUID", shell_complete=suggestions.pushed, help="GUID of the LRP or name of the app"
)
@click.argument("instances", type=count, metavar="N", help="number of instances")
async def scale(session: Session, guid: str, instances: int) -> None:
    update = DesiredLRPUpdate(instances=instances)
    for each in await for_each_lrp(session, guid, lambda guid: session.bbs.update_desired_lrp(guid, update)):
        session.output.confirm(f"{each}: {instances} instance(s) desired")
