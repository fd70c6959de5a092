"""Stop one or all instances of an LRP; desired instances are started again. With --task, cancel a Task.

cell stop web -i 0
cell stop web 0
cell stop web
cell stop --task build-17
"""

from __future__ import annotations

import argparse
from functools import partial

from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.errors import BBSError, ErrorType
from cell.client import session
from cell.client.session import Session
from cell.client.target import BadArguments
from cell.client.values import index


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("guid", metavar="GUID", help="of the LRP; of the Task with --task")
    parser.add_argument("index", nargs="?", type=index, metavar="INDEX", help="which instance (default: all)")
    parser.add_argument("-i", "--index", dest="option", type=index, metavar="INDEX", help="the same")
    parser.add_argument("--task", action="store_true", help="a Task: cancel it")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return session.run(args, partial(_cancel if args.task else _retire, args))


def _index(args: argparse.Namespace) -> int | None:
    """Index of the instance, from either form; None for all. Raises BadArguments."""
    given = {number for number in (args.index, args.option) if number is not None}
    if len(given) > 1:
        raise BadArguments(f"INDEX is given twice: {args.index} and --index {args.option}")
    return given.pop() if given else None


async def _retire(args: argparse.Namespace, at: Session) -> None:
    wanted = _index(args)
    try:
        lrp = await at.bbs.desired_lrp(args.guid)
    except BBSError as error:
        if await _is_of_task(error, args.guid, at):
            raise BadArguments(
                f"{args.guid} is a Task: cancel it with `cell stop --task {args.guid}`"
            ) from error
        raise
    if wanted is None:
        rows = await at.bbs.actual_lrps(process_guid=args.guid)
        indices = sorted({row.actual_lrp_key.index for row in rows})
    else:
        indices = [wanted]
    for number in indices:
        await at.bbs.retire_actual_lrp(ActualLRPKey(process_guid=args.guid, index=number, domain=lrp.domain))
        at.output.say(f"{args.guid}/{number} is asked to stop")


async def _is_of_task(error: BBSError, guid: str, at: Session) -> bool:
    """Whether the missing LRP's name is a Task's; for people only, programs get cfdot's answer."""
    if error.type is not ErrorType.ResourceNotFound or not at.output.for_people:
        return False
    try:
        await at.bbs.task(guid)
    except BBSError:
        return False
    return True


async def _cancel(args: argparse.Namespace, at: Session) -> None:
    if _index(args) is not None:
        raise BadArguments("a Task has no INDEX")
    await at.bbs.cancel_task(args.guid)
    at.output.say(f"{args.guid} is cancelled")
