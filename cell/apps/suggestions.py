"""Values for shell completion, from the BBS of the command line.

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
from cell.apps.names import app_name
from cell.apps.recipes.values import APPS_DOMAIN
from cell.cli import take
from cell.client.target import BadArguments, TargetOptions, find_target

TIMEOUT_S = 1.0
"""Of the whole request: the user waits at the prompt."""

Names = Callable[[OneShotBBSClient], Awaitable[Iterable[str]]]
Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def _suggest(names: Names, names_of_tasks: Names | None = None) -> Completion:
    """A completion with names from the BBS. names_of_tasks: for a command line with --task."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        ask = names_of_tasks if names_of_tasks and ctx.params.get("task") else names
        try:
            found = asyncio.run(_asked(ask, take(TargetOptions, dict(ctx.params))))
        except (BadArguments, BBSError, TimeoutError):
            return []
        return sorted(name for name in found if name.startswith(incomplete) and _is_plain(name))

    return complete


def _is_plain(name: str) -> bool:
    """Whether a shell takes the name, which a stranger may have chosen, as one word without effects."""
    return shlex.quote(name) == name


async def _asked(names: Names, options: TargetOptions) -> set[str]:
    """Raises BadArguments, BBSError, TimeoutError."""
    target = find_target(options, os.environ)
    if not target.bbs_url:
        return set()
    policy = replace(target.policy(), request_timeout_s=TIMEOUT_S)
    async with (
        asyncio.timeout(TIMEOUT_S),
        OneShotBBSClient(target.bbs_url, ssl_context=target.ssl_context(), policy=policy) as bbs,
    ):
        return set(await names(bbs))


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


lrps = _suggest(_lrps)
lrps_or_tasks = _suggest(_lrps, _tasks)
apps = _suggest(_apps)
apps_or_tasks = _suggest(_apps, _tasks)
tasks = _suggest(_tasks)
cells = _suggest(_cells)
domains = _suggest(OneShotBBSClient.domains)
