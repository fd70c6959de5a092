"""List the instances of LRPs, or with --desired the DesiredLRPs.

cell lrps                  all instances
cell lrps web -i 0         one instance of web
cell lrps --desired web    the DesiredLRP called web
"""

from __future__ import annotations

import argparse
from functools import partial

from cell.client import session, tables
from cell.client.session import Session
from cell.client.target import BadArguments
from cell.client.values import index


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("process_guid", nargs="?", default="", metavar="GUID", help="only this process")
    parser.add_argument("--desired", action="store_true", help="what should run instead of what does")
    parser.add_argument("-d", "--domain", default="", help="only of this domain")
    parser.add_argument("-c", "--cell", default="", metavar="ID", help="only on this cell")
    parser.add_argument("-i", "--index", type=index, help="only this instance")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_desired if args.desired else _instances, args))


async def _instances(args: argparse.Namespace, at: Session) -> None:
    rows = await at.bbs.actual_lrps(
        domain=args.domain, cell_id=args.cell, process_guid=args.process_guid, index=args.index
    )
    at.output.models(rows, tables.instances)


async def _desired(args: argparse.Namespace, at: Session) -> None:
    if args.cell or args.index is not None:
        raise BadArguments("--cell and --index choose instances; they do not go with --desired")
    if args.process_guid:
        lrps = [await at.bbs.desired_lrp(args.process_guid)]
    else:
        lrps = await at.bbs.desired_lrps(domain=args.domain)
    at.output.models(lrps, tables.desired)
