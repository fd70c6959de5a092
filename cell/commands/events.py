"""Show events of LRPs, their instances and Tasks as they occur. Ctrl-C ends it.

cell events
cell events --cell cell-1
cell events --json | jq .type
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import click

from bbs.models.codec import compact, to_json
from bbs.models.events import EVENT_NAMES, Event, TaskChangedEvent, TaskCreatedEvent, TaskRemovedEvent
from cell.apps import suggestions
from cell.cli import Option
from cell.client.eventlines import describe
from cell.client.session import Session, bbs_command


@bbs_command(interrupted=0)
@suggestions.CELL
@click.option("--lrps", is_flag=True, help="only of LRPs")
@click.option("--tasks", is_flag=True, cls=Option, excludes=["lrps"], help="only of Tasks")
async def events(session: Session, cell: str, lrps: bool, tasks: bool) -> None:
    trouble = logging.StreamHandler()
    trouble.setFormatter(_StreamFormatter())
    async with AsyncExitStack() as stack:
        logging.getLogger("bbs.client").addHandler(trouble)
        stack.callback(logging.getLogger("bbs.client").removeHandler, trouble)
        streams = []
        if not tasks:
            streams.append(await stack.enter_async_context(session.bbs.lrp_instance_events(cell)))
        if not lrps:
            streams.append(await stack.enter_async_context(session.bbs.task_events()))
        print(f"following {session.target.bbs_url}; Ctrl-C ends it", file=sys.stderr, flush=True)
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(_show(stream, cell, session))
    print("the BBS ended the stream", file=sys.stderr)


class _StreamFormatter(logging.Formatter):
    """Format of the client's log entries about a broken stream."""

    def format(self, record: logging.LogRecord) -> str:
        data = getattr(record, "data", {})
        return f"{record.getMessage()}: {data.get('error', '')}"


async def _show(stream: AsyncIterator[Event], cell_id: str, session: Session) -> None:
    async for event in stream:
        if cell_id and not _concerns(event, cell_id):
            continue
        if session.output.for_people:
            session.output.line(f"{time.strftime('%H:%M:%S')} {describe(event)}")
        else:
            session.output.line(compact({"type": EVENT_NAMES[type(event)], "data": to_json(event)}))


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
