"""Common frame of the commands: find the BBS, open a client, report failures.

Exit status and messages are those of cfdot: 0; 3 for invalid arguments; 4 if BBS, rep or Locket refused or
did not answer; 5 for anything else.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import click

from bbs.client.oneshot import OneShotBBSClient
from bbs.client.transport import UnansweredError
from bbs.models.errors import BBSError
from cell.cli import Command, command, take
from cell.client import output, target
from cell.client.output import Output
from cell.client.target import BadArguments, Target, TargetOptions, find_target

BAD_ARGUMENTS: Final = 3
COMPONENT_FAILED: Final = 4
OTHER_FAILURE: Final = 5

Work = Coroutine[None, None, None]


class ComponentFailed(Exception):
    """A rep or Locket refused or did not answer."""


class CommandFailed(Exception):
    """The command failed."""


EXIT_STATUSES: Final = {
    BadArguments: BAD_ARGUMENTS,
    BBSError: COMPONENT_FAILED,
    ComponentFailed: COMPONENT_FAILED,
    CommandFailed: OTHER_FAILURE,
}


@dataclass(frozen=True, slots=True)
class Session:
    """The context of one command."""

    target: Target
    output: Output
    bbs: OneShotBBSClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Common(TargetOptions):
    """The options of every command that calls a component."""

    json: bool
    table: bool


class BBSCommand(Command):
    """A command that calls the BBS or Locket; messages have cfdot's form."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, errors=EXIT_STATUSES, usage_status=BAD_ARGUMENTS, **settings)
        self.params += [*output.OPTIONS, *target.OPTIONS]

    def message(self, ctx: click.Context, error: Exception) -> str:
        if not isinstance(error, BBSError):
            return f"Error: {error}"
        text = f"Error: BBS error\nType {error.type.value}: {error.type.name}\nMessage: {error.message}"
        if isinstance(error, UnansweredError):
            where = ctx.ensure_object(Target)
            text += f"\n(the BBS at {where.bbs_url}, from {where.origin})"
        return text


def bbs_command(*, asks_bbs: bool = True, **settings: Any) -> Callable[[Callable[..., Work]], BBSCommand]:
    """Make a coroutine function a command: a :class:`Session` precedes its own arguments.

    asks_bbs: the target must have a BBS.
    """

    def decorate(function: Callable[..., Work]) -> BBSCommand:
        @wraps(function)
        def run(**values: Any) -> None:
            common = take(Common, values)
            execute(common, lambda session: function(session, **values), asks_bbs=asks_bbs)

        return command(BBSCommand, **settings)(run)

    return decorate


def execute(options: Common, work: Callable[[Session], Work], *, asks_bbs: bool = True) -> None:
    """Open a session and work with it."""
    where = find_target(options, os.environ)
    click.get_current_context().obj = where
    if asks_bbs and not where.bbs_url:
        raise BadArguments("no BBS: name one with --bbs-url or BBS_URL")
    shown = Output.chosen(sys.stdout, json=options.json, table=options.table)

    async def run() -> None:
        async with (where if asks_bbs else Target()).bbs() as bbs:
            await work(Session(where, shown, bbs))

    try:
        asyncio.run(run())
    except* BrokenPipeError:
        # The reader closed the pipe. Without the redirect, Python's flush at exit would report an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
