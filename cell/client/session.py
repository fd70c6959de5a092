"""Common frame of the commands: find the BBS, open a client, report failures.

Exit status and messages are those of cfdot: 0; 3 for invalid arguments; 4 if BBS, rep or Locket refused or
did not answer; 5 for anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from bbs.client.oneshot import OneShotBBSClient
from bbs.client.transport import UnansweredError
from bbs.errorgroups import leaves
from bbs.models.errors import BBSError
from cell.assembly.terminal import visible_lines
from cell.client import output, target
from cell.client.output import Output
from cell.client.target import BadArguments, Target, find_target
from cell.registry import BAD_ARGUMENTS

COMPONENT_FAILED: Final = 4
OTHER_FAILURE: Final = 5
INTERRUPTED: Final = 130
"""128 + SIGINT, like a shell."""


class ComponentFailed(Exception):
    """A rep or Locket refused or did not answer."""


class CommandFailed(Exception):
    """The command failed."""


@dataclass(frozen=True, slots=True)
class Session:
    """The context of one command."""

    target: Target
    output: Output
    bbs: OneShotBBSClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command."""
    output.add_arguments(parser)
    target.add_arguments(parser)


def run(
    args: argparse.Namespace,
    work: Callable[[Session], Coroutine[None, None, None]],
    *,
    interrupted: int = INTERRUPTED,
) -> int:
    """Run a command's BBS calls and return its exit status. interrupted: the status after Ctrl-C."""

    async def with_client(where: Target, shown: Output) -> None:
        if not where.bbs_url:
            raise BadArguments("no BBS: name one with --bbs-url or BBS_URL")
        context = where.ssl_context()
        async with OneShotBBSClient(where.bbs_url, ssl_context=context, policy=where.policy()) as bbs:
            await work(Session(where, shown, bbs))

    return run_without_bbs(args, with_client, interrupted=interrupted)


def run_without_bbs(
    args: argparse.Namespace,
    work: Callable[[Target, Output], Coroutine[None, None, None]],
    *,
    interrupted: int = INTERRUPTED,
) -> int:
    """Like :func:`run`, for commands that call other components."""
    where = Target()
    status = 0
    try:
        where = find_target(args, os.environ)
        asyncio.run(work(where, Output.chosen(args, sys.stdout)))
    except* KeyboardInterrupt:
        status = interrupted
    except* BrokenPipeError:
        # The reader closed the pipe. Without the redirect, Python's flush at exit would report an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except* BadArguments as bad:
        status = _tell(bad, BAD_ARGUMENTS)
    except* BBSError as refusals:
        status = _tell(refusals, COMPONENT_FAILED, where)
    except* ComponentFailed as failures:
        status = _tell(failures, COMPONENT_FAILED)
    except* CommandFailed as failures:
        status = _tell(failures, OTHER_FAILURE)
    return status


def _tell(group: ExceptionGroup[Exception], status: int, where: Target | None = None) -> int:
    for error in leaves(group):
        print(f"Error: {visible_lines(_words(error))}", file=sys.stderr)
        if where is not None and isinstance(error, UnansweredError):
            print(f"(the BBS at {where.bbs_url}, from {where.origin})", file=sys.stderr)
    return status


def _words(error: Exception) -> str:
    if isinstance(error, BBSError):
        return f"BBS error\nType {error.type.value}: {error.type.name}\nMessage: {error.message}"
    return str(error)
