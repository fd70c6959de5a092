"""Run a Task.

FILE contains a Task as JSON, in the form of cfdot or that of the Receptor of 2015.

  cell task build.json
  cell tasks build-17        show its state
"""

from __future__ import annotations

import argparse
from functools import partial

from cell.client import session
from cell.client.documents import read_task
from cell.client.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the document; - for standard input")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_desire, args))


async def _desire(args: argparse.Namespace, at: Session) -> None:
    task = read_task(args.file)
    await at.bbs.desire_task(task.task_guid, task.domain, task.definition)
    at.output.say(f"{task.task_guid} is desired")
