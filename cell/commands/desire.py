"""Desire an LRP: the BBS then keeps its number of instances running.

FILE contains a DesiredLRP as JSON, in the form of cfdot or that of the Receptor of 2015.

  cell desire web.json
  generate | cell desire -
"""

from __future__ import annotations

import click

from cell.cli import DOCUMENT
from cell.client.documents import read_desired_lrp
from cell.client.session import Session, bbs_command


@bbs_command()
@click.argument("file", metavar="FILE", type=DOCUMENT, help="the document; - for standard input")
async def desire(session: Session, file: str) -> None:
    lrp = read_desired_lrp(file)
    await session.bbs.desire_lrp(lrp)
    session.output.confirm(f"{lrp.process_guid} is desired: {lrp.instances} instance(s)")
