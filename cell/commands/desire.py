"""Desire an LRP: the BBS then keeps its number of instances running.

FILE contains a DesiredLRP as JSON, in the form of cfdot or that of the Receptor of 2015.

  cell desire web.json
  generate | cell desire -
"""

from __future__ import annotations

import argparse
from functools import partial

from cell.client import session
from cell.client.documents import read_desired_lrp
from cell.client.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the document; - for standard input")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_desire, args))


async def _desire(args: argparse.Namespace, at: Session) -> None:
    lrp = read_desired_lrp(args.file)
    await at.bbs.desire_lrp(lrp)
    at.output.say(f"{lrp.process_guid} is desired: {lrp.instances} instance(s)")
