"""Parameters with shell completion of their values, from the BBS of the command line.

A BBS that is missing, slow or broken gives no values and no message.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import click

from bbs.client.oneshot import OneShotBBSClient
from bbs.models.errors import BBSError
from cell.apps.lookup import app_name
from cell.apps.recipes.values import APPS_DOMAIN
from cell.cli import take
from cell.client.target import BadArguments, Target, TargetOptions, find_target

TIMEOUT_S = 1.0
"""Of the whole request: the user waits at the prompt."""

Names = Callable[[OneShotBBSClient], Awaitable[Iterable[str]]]
Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def _names(call: Names, *, for_task: Names | None = None, of_cell_dev: Names | None = None) -> Completion:
    """A completion with the names that a call returns.

    for_task: the call for a command line with --task. of_cell_dev: the call to a ``cell dev``.
    """

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        try:
            target = find_target(take(TargetOptions, dict(ctx.params)), os.environ)
            chosen = (ctx.params.get("task") and for_task) or (target.file_server and of_cell_dev) or call
            names = asyncio.run(_names_from_bbs(target, chosen)) if target.bbs_url else ()
        except (BadArguments, BBSError, TimeoutError):
            return []
        # Any client may have chosen the name: for a shell it must be one word without effects.
        return sorted(name for name in names if name.startswith(incomplete) and shlex.quote(name) == name)

    return complete


async def _names_from_bbs(target: Target, call: Names) -> set[str]:
    """Raises BadArguments, BBSError, TimeoutError."""
    async with asyncio.timeout(TIMEOUT_S), replace(target, timeout_s=TIMEOUT_S).bbs() as bbs:
        return set(await call(bbs))


async def _lrps(bbs: OneShotBBSClient) -> Iterable[str]:
    return [lrp.process_guid for lrp in await bbs.desired_lrps()]


async def _apps(bbs: OneShotBBSClient) -> Iterable[str]:
    """Names of pushed apps, and GUIDs of all LRPs."""
    lrps = await bbs.desired_lrps()
    names = {app_name(lrp) for lrp in lrps if lrp.domain == APPS_DOMAIN}
    return names.union(lrp.process_guid for lrp in lrps)


async def _tasks(bbs: OneShotBBSClient) -> Iterable[str]:
    return [task.task_guid for task in await bbs.tasks()]


async def _cells(bbs: OneShotBBSClient) -> Iterable[str]:
    return [cell.cell_id for cell in await bbs.cells()]


lrps = _names(_lrps)
lrps_or_tasks = _names(_lrps, for_task=_tasks)
apps = _names(_apps)
pushed = _names(_lrps, of_cell_dev=_apps)
pushed_or_tasks = _names(_lrps, for_task=_tasks, of_cell_dev=_apps)
tasks = _names(_tasks)
cells = _names(_cells)
domains = _names(OneShotBBSClient.domains)

APP = click.argument("app", metavar="APP", shell_complete=apps, help="name of the app, or GUID of an LRP")
CELL = click.option("-c", "--cell", default="", metavar="ID", shell_complete=cells, help="only of this cell")
DOMAIN = click.option(
    "-d", "--domain", default="", metavar="DOMAIN", shell_complete=domains, help="only of this domain"
)
