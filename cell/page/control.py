"""The rows of a control plane: its records, and its cells, of this process and of others.

A whole list is read at first and then from time to time; between two lists, events change its rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Never

from bbs.embedded.auctioneer.runner import UNHEALTHY, UNREACHABLE
from bbs.embedded.calls.reps import RepError
from bbs.embedded.events.hub import Stream, Subscription
from bbs.embedded.service import BBS
from bbs.embedded.store.resources import rep_url
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey
from bbs.models.auction import CellState
from bbs.models.cell import CellPresence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.events import (
    ActualLRPInfo,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
    TaskChangedEvent,
    TaskCreatedEvent,
    TaskRemovedEvent,
)
from bbs.models.task import Task, TaskDefinition
from cell.page import rows
from cell.page.board import Board
from cell.page.detail import Sources
from cell.page.local import TURN, LocalCell
from cell.story.tails import Key, Tails, key_of
from executor.model import LogConfig

CELLS_S: Final = 1.0
"""Interval of looks at the registered cells."""
REMOTE_LOOKS: Final = 5
"""Looks between two requests for the states of cells of other processes."""
REMOTE_MOST: Final = 8
"""Requests for states at a time."""
LIST_AGAIN_S: Final = 60.0
"""Interval of whole lists, which also show what events leave out."""
PATIENCE_S: Final = 5.0

LOG_ONLY: Final = "It runs on a cell of another process: this is its log; its steps are on that cell's page."

_Lists = tuple[list[DesiredLRP], list[ActualLRP], list[Task]]


class ControlSource:
    """A control plane. name: for the reader. tails: app logs of cells of other processes, if they come."""

    def __init__(self, bbs: BBS, name: str, tails: Tails | None = None) -> None:
        self._bbs = bbs
        self._name = name
        self._tails = tails
        self._logs: Mapping[str, Key] = {}
        self._cells: dict[str, LocalCell] = {}

    def add(self, cell: LocalCell) -> None:
        """Add a cell of this process, at any time."""
        self._cells[cell.cell_id] = cell

    def about(self) -> Mapping[str, object]:
        return {"scope": "control", "name": self._name}

    def container(self, guid: str) -> Sources | None:
        for cell in self._cells.values():
            if (sources := cell.sources(guid)) is not None:
                return sources
        tails, key = self._tails, self._logs.get(guid)
        if tails is None or key is None:
            return None
        return Sources(
            story=lambda: None,
            tail=lambda: tails.of(key),
            reading=lambda: None,
            cell_id="",
            redact=str,
            remark=LOG_ONLY,
        )

    async def follow(self, board: Board) -> Never:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_records(board))
            await self._follow_cells(board, group)

    # -- records -----------------------------------------------------------------------------------------

    async def _follow_records(self, board: Board) -> Never:
        hub = self._bbs.hub
        while True:
            with (
                hub.subscribe(Stream.INSTANCES, name="page") as lrps,
                hub.subscribe(Stream.TASKS, name="page") as tasks,
            ):
                records = await self._list(board)
                self._logs = records.logs
                board.complete.set()
                async with asyncio.TaskGroup() as group:
                    appliers = [group.create_task(_apply_all(each, records)) for each in (lrps, tasks)]
                    await asyncio.wait(appliers, timeout=LIST_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
                    for applier in appliers:
                        applier.cancel()
                if lrps.exhausted or tasks.exhausted:  # slower than the events, or the hub is closed
                    await asyncio.sleep(CELLS_S)

    async def _list(self, board: Board) -> Records:
        records = Records(board)
        lists = await self._bbs.controllers.deps.reader.read(_lists)
        ids: dict[str, set[str]] = {"apps": set(), "instances": set(), "tasks": set()}
        for number, item in enumerate(each for models in lists for each in models):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            table, row_id = records.show(item)
            ids[table].add(row_id)
        for table, shown in ids.items():
            board.retain(table, shown)
        return records

    # -- cells -------------------------------------------------------------------------------------------

    async def _follow_cells(self, board: Board, group: asyncio.TaskGroup) -> Never:
        followed: set[str] = set()
        remote: dict[str, CellState | str] = {}
        looks = 0
        while True:
            for cell_id in self._cells.keys() - followed:
                followed.add(cell_id)
                group.create_task(self._cells[cell_id].follow(board, alone=False))
            present = {each.cell_id: each for each in await self._bbs.cells()}
            others = [each for cell_id, each in present.items() if cell_id not in self._cells]
            if looks % REMOTE_LOOKS == 0 or any(each.cell_id not in remote for each in others):
                remote = await self._states(others)
            for presence in others:
                board.put("cells", presence.cell_id, rows.remote_cell(presence, remote[presence.cell_id]))
            board.retain("cells", {*followed, *present})
            looks += 1
            await asyncio.sleep(CELLS_S)

    async def _states(self, cells: Sequence[CellPresence]) -> dict[str, CellState | str]:
        """The states of cells of other processes, as their reps answer."""
        places = asyncio.Semaphore(REMOTE_MOST)
        async with asyncio.TaskGroup() as group:
            asked = {each.cell_id: group.create_task(self._state(each, places)) for each in cells}
        return {cell_id: task.result() for cell_id, task in asked.items()}

    async def _state(self, cell: CellPresence, places: asyncio.Semaphore) -> CellState | str:
        try:
            async with places, asyncio.timeout(PATIENCE_S):
                return await self._bbs.controllers.deps.reps.state(rep_url(cell))
        except (RepError, TimeoutError) as error:
            return UNHEALTHY if isinstance(error, RepError) and error.status == 503 else UNREACHABLE


def _lists(tables: Tables) -> _Lists:
    return tables.desired_lrps(), tables.actual_lrps(), tables.tasks()


class Records:
    """The records on a board, changed by events. logs: ids of log lines, by guid of the container.

    A crash replaces the row of an index: the event about the new row may come before the one about the end of
    the old row. So each row knows the instance that it is about.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._instances: dict[str, str] = {}
        self._desired: dict[str, DesiredLRP] = {}
        self.logs: dict[str, Key] = {}

    def show(self, item: DesiredLRP | ActualLRP | Task) -> tuple[str, str]:
        """Show a record; returns its table and id."""
        match item:
            case DesiredLRP():
                self._desired[item.process_guid] = item
                self._board.put("apps", item.process_guid, rows.app(item))
                return "apps", item.process_guid
            case ActualLRP():
                row_id = rows.instance_id(item.actual_lrp_key, item.presence)
                instance_key = item.actual_lrp_instance_key
                self._show_instance(row_id, item.actual_lrp_key, instance_key, rows.info_of(item))
                return "instances", row_id
            case Task():
                if (definition := item.task_definition) is not None:
                    self.logs[item.task_guid] = _log_key(definition, 0, item.task_guid)
                self._board.put("tasks", item.task_guid, rows.task(item))
                return "tasks", item.task_guid

    def apply(self, event: Event) -> None:
        """Show the change of an event. A crash also comes as a change of its row."""
        match event:
            case DesiredLRPCreatedEvent(desired_lrp=DesiredLRP() as item):
                self.show(item)
            case DesiredLRPChangedEvent(after=DesiredLRP() as item):
                self.show(item)
            case DesiredLRPRemovedEvent(desired_lrp=DesiredLRP() as item):
                self._desired.pop(item.process_guid, None)
                self._board.drop("apps", item.process_guid)
            case ActualLRPInstanceCreatedEvent(actual_lrp=ActualLRP() as item):
                self.show(item)
            case ActualLRPInstanceChangedEvent(after=ActualLRPInfo() as after):
                self._change(event, after)
            case ActualLRPInstanceRemovedEvent(actual_lrp=ActualLRP() as item):
                row_id = rows.instance_id(item.actual_lrp_key, item.presence)
                self._hide_instance(row_id, item.actual_lrp_instance_key.instance_guid)
            case TaskCreatedEvent(task=Task() as item):
                self.show(item)
            case TaskChangedEvent(after=Task() as item):
                self.show(item)
            case TaskRemovedEvent(task=Task() as item):
                self.logs.pop(item.task_guid, None)
                self._board.drop("tasks", item.task_guid)
            case _:
                pass

    def _change(self, event: ActualLRPInstanceChangedEvent, after: ActualLRPInfo) -> None:
        key, instance_key = event.actual_lrp_key, event.actual_lrp_instance_key
        if event.before is not None and event.before.presence is not after.presence:
            row_id = rows.instance_id(key, event.before.presence)
            self._hide_instance(row_id, instance_key.instance_guid)
        self._show_instance(rows.instance_id(key, after.presence), key, instance_key, after)

    def _show_instance(
        self, row_id: str, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, info: ActualLRPInfo
    ) -> None:
        guid = instance_key.instance_guid if info.state in rows.ON_A_CELL else ""
        self.logs.pop(self._instances.get(row_id, ""), None)
        self._instances[row_id] = guid
        if guid and (desired := self._desired.get(key.process_guid)) is not None:
            self.logs[guid] = _log_key(desired, key.index, guid)
        self._board.put("instances", row_id, rows.instance(key, instance_key, info))

    def _hide_instance(self, row_id: str, instance_guid: str) -> None:
        if self._instances.get(row_id, instance_guid) == instance_guid:
            self.logs.pop(self._instances.pop(row_id, ""), None)
            self._board.drop("instances", row_id)


def _log_key(work: DesiredLRP | TaskDefinition, index: int, guid: str) -> Key:
    """The ids of an instance's log lines, as its cell sets them."""
    tags = {name: value.of_instance(index, guid) for name, value in work.metric_tags.items()}
    return key_of(LogConfig(guid=work.log_guid, index=index, tags=tags))


async def _apply_all(events: Subscription, records: Records) -> None:
    """Apply events until the subscription ends."""
    while not events.exhausted:
        if (event := await events.next(LIST_AGAIN_S)) is not None:
            records.apply(event)
