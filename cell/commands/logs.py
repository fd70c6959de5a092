"""Show new log lines of an app; with --recent the kept lines. Ctrl-C ends it.

cell logs shop
cell logs shop --recent --json | jq -r .message
"""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from bbs.models.codec import compact
from cell.apps import suggestions
from cell.apps.loglines import AppLog, Line
from cell.apps.lookup import find_app
from cell.client.session import Session, bbs_command


@bbs_command(interrupted=0)
@suggestions.APP
@click.option("--recent", is_flag=True, help="show the kept lines and end")
async def logs(session: Session, app: str, recent: bool) -> None:
    log = AppLog(session.target, (await find_app(session.bbs, app)).log_guid)
    if recent:
        for line in await log.recent():
            _show(session, line)
        return
    async with log.following() as lines:
        async for line in lines:
            _show(session, line)


def _show(session: Session, line: Line) -> None:
    if session.output.for_people:
        clock = time.strftime("%H:%M:%S", time.localtime(line.time_ns / 1e9))
        session.output.line(f"{clock} [{line.label}] {line.stream} {line.message}")
    else:
        session.output.line(compact(asdict(line)))
