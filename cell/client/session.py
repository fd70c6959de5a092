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


def bbs_command(**settings: Any) -> Callable[[Callable[..., Work]], BBSCommand]:
    """Make a coroutine function a command: a :class:`Session` precedes its own arguments."""

    def decorate(function: Callable[..., Work]) -> BBSCommand:
        @wraps(function)
        def run(**values: Any) -> None:
            common = take(Common, values)
            execute(common, lambda session: function(session, **values))

        return command(BBSCommand, **settings)(run)

    return decorate


def execute(options: Common, work: Callable[[Session], Work]) -> None:
    """Open a session and work with it."""

    async def with_client(where: Target, shown: Output) -> None:
        if not where.bbs_url:
            raise BadArguments("no BBS: name one with --bbs-url or BBS_URL")
        context = where.ssl_context()
        async with OneShotBBSClient(where.bbs_url, ssl_context=context, policy=where.policy()) as bbs:
            await work(Session(where, shown, bbs))

    execute_without_bbs(options, with_client)


def execute_without_bbs(options: Common, work: Callable[[Target, Output], Work]) -> None:
    """Like :func:`execute`, for commands that call other components."""
    shown = Output.chosen(sys.stdout, json=options.json, table=options.table)
    where = find_target(options, os.environ)
    click.get_current_context().obj = where
    try:
        asyncio.run(work(where, shown))
    except* BrokenPipeError:
        # The reader closed the pipe. Without the redirect, Python's flush at exit would report an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
