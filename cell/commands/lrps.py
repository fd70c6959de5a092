"""List the instances of LRPs, or with --desired the DesiredLRPs.

cell lrps                  all instances
cell lrps web -i 0         one instance of web
cell lrps --desired web    the DesiredLRP called web
"""

from __future__ import annotations

import click

from cell.apps import suggestions
from cell.client import tables
from cell.client.session import Session, bbs_command
from cell.client.target import BadArguments
from cell.client.values import index


@bbs_command()
@click.argument(
    "process_guid", default="", metavar="[GUID]", shell_complete=suggestions.lrps, help="only this LRP"
)
@click.option("--desired", is_flag=True, help="list the DesiredLRPs")
@suggestions.DOMAIN
@suggestions.CELL
@click.option("-i", "--index", type=index, help="only this instance")
async def lrps(
    session: Session, process_guid: str, desired: bool, domain: str, cell: str, index: int | None
) -> None:
    if not desired:
        rows = await session.bbs.actual_lrps(
            domain=domain, cell_id=cell, process_guid=process_guid, index=index
        )
        session.output.models(rows, tables.instances)
        return
    if cell or index is not None:
        raise BadArguments("--cell and --index choose instances; they do not go with --desired")
    if process_guid:
        found = [await session.bbs.desired_lrp(process_guid)]
    else:
        found = await session.bbs.desired_lrps(domain=domain)
    session.output.models(found, tables.desired)
