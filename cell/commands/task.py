"""Run a Task.

FILE contains a Task as JSON, in the form of cfdot or that of the Receptor of 2015.

  cell task build.json
  cell tasks build-17        show its state
"""

from __future__ import annotations

import click

from cell.cli import DOCUMENT
from cell.client.documents import read_task
from cell.client.session import Session, bbs_command


@bbs_command()
@click.argument("file", metavar="FILE", type=DOCUMENT, help="the document; - for standard input")
async def task(session: Session, file: str) -> None:
    document = read_task(file)
    await session.bbs.desire_task(document.task_guid, document.domain, document.definition)
    session.output.confirm(f"{document.task_guid} is desired")
