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
from cell.apps.names import find_app
from cell.client.session import Session, bbs_command


@bbs_command(interrupted=0)
@click.argument(
    "app", metavar="APP", shell_complete=suggestions.apps, help="name of the app, or GUID of an LRP"
)
@click.option("--recent", is_flag=True, help="show the kept lines and end")
async def logs(at: Session, app: str, recent: bool) -> None:
    log = AppLog(at.target, (await find_app(at.bbs, app)).log_guid)
    if recent:
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
