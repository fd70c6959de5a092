"""List Tasks, or show one.

cell tasks                 all Tasks
cell tasks -c cell-1       those on one cell
cell tasks build-17        one Task
"""

from __future__ import annotations

import argparse
from functools import partial

from cell.client import session, tables
from cell.client.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_guid", nargs="?", default="", metavar="GUID", help="this one alone")
    parser.add_argument("-d", "--domain", default="", help="only of this domain")
    parser.add_argument("-c", "--cell", default="", metavar="ID", help="only on this cell")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_list, args))


async def _list(args: argparse.Namespace, at: Session) -> None:
    if args.task_guid:
        rows = [await at.bbs.task(args.task_guid)]
    else:
        rows = await at.bbs.tasks(domain=args.domain, cell_id=args.cell)
    at.output.models(rows, tables.tasks)
