"""Delete an LRP or a pushed app; all its instances stop.

With --task, delete a completed Task.

  cell delete web
  cell delete --task build-17
"""

from __future__ import annotations

import argparse
from functools import partial

from cell.apps.names import with_each
from cell.client import session
from cell.client.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "guid", metavar="GUID", help="of the LRP, or the name of an app; of the Task with --task"
    )
    parser.add_argument("--task", action="store_true", help="a Task")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_delete_task if args.task else _delete_lrp, args))


async def _delete_lrp(args: argparse.Namespace, at: Session) -> None:
    for guid in await with_each(at, args.guid, at.bbs.remove_desired_lrp):
        at.output.say(f"{guid} is deleted")


async def _delete_task(args: argparse.Namespace, at: Session) -> None:
    await at.bbs.resolving_task(args.guid)
    await at.bbs.delete_task(args.guid)
    at.output.say(f"{args.guid} is deleted")
