"""Show new log lines of an app; with --recent the kept lines. Ctrl-C ends it.

cell logs shop
cell logs shop --recent --json | jq -r .message
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from functools import partial

from bbs.models.codec import compact
from cell.apps.loglines import AppLog, Line
from cell.apps.names import find_app
from cell.client import session
from cell.client.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="its name, or the GUID of an LRP")
    parser.add_argument("--recent", action="store_true", help="what is kept, and no more")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_logs, args), interrupted=0)


async def _logs(args: argparse.Namespace, at: Session) -> None:
    log = AppLog(at.target, (await find_app(at.bbs, args.app)).log_guid)
    if args.recent:
        for line in await log.recent():
            _show(at, line)
        return
    async with log.following() as lines:
        async for line in lines:
            _show(at, line)


def _show(at: Session, line: Line) -> None:
    if at.output.for_people:
        clock = time.strftime("%H:%M:%S", time.localtime(line.time_ns / 1e9))
        at.output.line(f"{clock} [{line.label}] {line.stream} {line.message}")
    else:
        at.output.line(compact(asdict(line)))
