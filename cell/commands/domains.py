"""List the fresh domains, or with --set keep one fresh.

A BBS stops instances without a DesiredLRP only in fresh domains.

  cell domains
  cell domains --set cf-apps --ttl 2m
"""

from __future__ import annotations

import argparse
from functools import partial

from cell.client import session, tables
from cell.client.session import Session
from cell.client.target import BadArguments
from cell.client.values import whole_seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", default="", metavar="DOMAIN", help="the domain to keep fresh")
    parser.add_argument("--ttl", type=whole_seconds, metavar="TIME", help="for how long (default: forever)")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_set if args.set else _list, args))


async def _list(args: argparse.Namespace, at: Session) -> None:
    if args.ttl is not None:
        raise BadArguments("--ttl goes with --set DOMAIN")
    at.output.values(await at.bbs.domains(), tables.domains)


async def _set(args: argparse.Namespace, at: Session) -> None:
    await at.bbs.upsert_domain(args.set, args.ttl or 0)
    at.output.say(f"{args.set} is fresh " + (f"for {args.ttl} s" if args.ttl else "for good"))
