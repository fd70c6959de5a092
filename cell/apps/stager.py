"""Staging Tasks: desire one, show its log, wait for its end, delete it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from bbs.client.api import BBSClient
from bbs.models.errors import BBSError
from bbs.models.task import Task, TaskDefinition, TaskState
from cell.apps.loglines import AppLog, Line
from cell.apps.recipes.values import STAGING_DOMAIN
from cell.apps.staged import StagingFailed

POLLING_INTERVAL_S = 0.1
LOG_SOURCE = "STG"


@dataclass(frozen=True, slots=True)
class Stager:
    """log: of the app. show: called with each line for people."""

    bbs: BBSClient
    log: AppLog
    show: Callable[[str], None]

    async def run(self, guid: str, definition: TaskDefinition) -> str:
        """The result of the Task. Raises StagingFailed, BBSError, ComponentFailed."""
        printer = _LinePrinter(self.show)
        async with self.log.following() as lines, asyncio.TaskGroup() as group:
            printing = group.create_task(printer.print_all(lines))
            try:
                await self.bbs.desire_task(guid, STAGING_DOMAIN, definition)
                task = await self._completed(guid)
            finally:
                printing.cancel()
        for line in await self.log.recent():
            printer.print_line(line)
        if task.failed:
            raise StagingFailed(task.failure_reason)
        return task.result

    async def _completed(self, guid: str) -> Task:
        try:
            task = await self.bbs.task(guid)
            while task.state is not TaskState.Completed:
                await asyncio.sleep(POLLING_INTERVAL_S)
                task = await self.bbs.task(guid)
        except asyncio.CancelledError:
            await self._give_up(guid)
            raise
        await self.bbs.resolving_task(guid)
        await self.bbs.delete_task(guid)
        return task

    async def _give_up(self, guid: str) -> None:
        """Delete the Task after an interruption. A cancelled Task is Completed at once."""
        try:
            await self.bbs.cancel_task(guid)
            await self.bbs.resolving_task(guid)
            await self.bbs.delete_task(guid)
        except BBSError as error:
            self.show(f"staging task {guid} could not be deleted: {error}")


class _LinePrinter:
    """Shows each line of this staging once, although it can arrive both live and in the recent lines."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._began_ns = time.time_ns()
        self._printed: set[Line] = set()

    async def print_all(self, lines: AsyncIterator[Line]) -> None:
        async for line in lines:
            self.print_line(line)

    def print_line(self, line: Line) -> None:
        ours = line.source_type == LOG_SOURCE and line.time_ns >= self._began_ns
        if ours and line not in self._printed:
            self._printed.add(line)
            self._show(f"   {line.message}")
