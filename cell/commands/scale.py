"""Change the number of instances of an LRP or a pushed app.

cell scale web 3
"""

from __future__ import annotations

import argparse
from functools import partial

from bbs.models.desired_lrp import DesiredLRPUpdate
from cell.apps.names import with_each
from cell.client import session
from cell.client.session import Session
from cell.client.values import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("process_guid", metavar="GUID", help="of the LRP, or the name of an app")
    parser.add_argument("instances", type=count, metavar="N", help="how many")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_scale, args))


async def _scale(args: argparse.Namespace, at: Session) -> None:
    update = DesiredLRPUpdate(instances=args.instances)
    for guid in await with_each(at, args.process_guid, lambda guid: at.bbs.update_desired_lrp(guid, update)):
        at.output.say(f"{guid}: {args.instances} instance(s) desired")
