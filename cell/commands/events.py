"""Show events of LRPs, their instances and Tasks as they occur. Ctrl-C ends it.

cell events
cell events --cell cell-1
cell events --json | jq .type
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

from bbs.models.codec import compact, to_json
from bbs.models.events import EVENT_NAMES, Event, TaskChangedEvent, TaskCreatedEvent, TaskRemovedEvent
from cell.client import session
from cell.client.eventlines import describe
from cell.client.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--cell", default="", metavar="ID", help="only of this cell")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--lrps", action="store_true", help="no Tasks")
    kinds.add_argument("--tasks", action="store_true", help="Tasks only")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    trouble = logging.StreamHandler()
    trouble.setFormatter(_Trouble())
    logging.getLogger("bbs.client").addHandler(trouble)
    try:
        return session.run(args, partial(_follow, args), interrupted=0)
    finally:
        logging.getLogger("bbs.client").removeHandler(trouble)


class _Trouble(logging.Formatter):
    """Format of the client's log entries about a broken stream."""

    def format(self, record: logging.LogRecord) -> str:
        data = getattr(record, "data", {})
        return f"{record.getMessage()}: {data.get('error', '')}"


async def _follow(args: argparse.Namespace, at: Session) -> None:
    async with AsyncExitStack() as stack:
        streams = []
        if not args.tasks:
            streams.append(await stack.enter_async_context(at.bbs.lrp_instance_events(args.cell)))
        if not args.lrps:
            streams.append(await stack.enter_async_context(at.bbs.task_events()))
        print(f"following {at.target.bbs_url}; Ctrl-C ends it", file=sys.stderr, flush=True)
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(_show(stream, args.cell, at))
    print("the BBS ended the stream", file=sys.stderr)


async def _show(stream: AsyncIterator[Event], cell_id: str, at: Session) -> None:
    async for event in stream:
        if cell_id and not _concerns(event, cell_id):
            continue
        if at.output.for_people:
            at.output.line(f"{time.strftime('%H:%M:%S')} {describe(event)}")
        else:
            at.output.line(compact({"type": EVENT_NAMES[type(event)], "data": to_json(event)}))


def _concerns(event: Event, cell_id: str) -> bool:
    """Whether an event is about a cell: the BBS filters the stream of LRPs by cell, but not that of Tasks."""
    match event:
        case TaskCreatedEvent() | TaskRemovedEvent():
            tasks = [event.task]
        case TaskChangedEvent():
            tasks = [event.before, event.after]
        case _:
            return True
    return any(task is not None and task.cell_id == cell_id for task in tasks)
