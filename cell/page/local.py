"""A cell of this process: its rows for the board, and its containers for their pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Never, Protocol

from cell.page import rows
from cell.page.board import Board, Row
from cell.page.detail import Sources
from cell.story.stories import ACTIVITY_MOST, Stories, Story
from cell.story.tails import Tail, Tails, key_of
from executor.api import ExecutorAPI
from executor.model import Container
from rep.config import RepConfig
from rep.evacuation import EvacuationFlag
from rep.redaction import Redaction

LOOK_S: Final = 0.25
"""Interval of looks at the containers."""
SLOW_LOOKS: Final = 4
"""Looks between two looks at capacity, reports and readings."""
REPORTS_MOST: Final = 500
"""Reports that are shown."""
TURN: Final = 50
"""Rows that are made before the event loop does other work."""


class Rep(Protocol):
    """What the page asks the agent of a cell: :class:`rep.agent.RepAgent`."""

    @property
    def ready(self) -> asyncio.Event: ...

    @property
    def evacuation(self) -> EvacuationFlag: ...

    def outcomes(self, most: int) -> Mapping[str, object]:
        """The reports that the BBS has not answered; see :meth:`rep.agent.RepAgent.outcomes`."""
        ...


@dataclass(frozen=True, slots=True)
class Memories:
    """What a cell remembers for its page. They exist before its parts, which write into them."""

    stories: Stories
    tails: Tails

    @classmethod
    def empty(cls) -> Memories:
        return cls(Stories(), Tails())


class LocalCell:
    """One cell of this process. executor, stories: of its containers."""

    def __init__(self, config: RepConfig, executor: ExecutorAPI, rep: Rep, memories: Memories) -> None:
        self._config = config
        self._rep = rep
        self._tails = memories.tails
        self.executor = executor
        self.stories = memories.stories
        self._redaction = Redaction(config.redact_patterns)

    @property
    def cell_id(self) -> str:
        return self._config.cell_id

    def sources(self, guid: str) -> Sources | None:
        """The sources of a container's page; None for a container that is unknown here."""
        stories = self.stories
        if stories.of(guid) is None:
            return None
        return Sources(
            story=lambda: stories.of(guid),
            tail=lambda: self._tail(stories.of(guid)),
            reading=lambda: self.executor.metrics().get(guid),
            cell_id=self.cell_id,
            redact=lambda text: str(self._redaction(text)),
        )

    def _tail(self, story: Story | None) -> Tail | None:
        if story is None:
            return None
        return self._tails.of(key_of(story.container.run_info.log_config))

    def cell_row(self) -> Row:
        """The cell with its capacity."""
        containers = self.executor.containers()
        tasks = sum(rows.is_task(container) for container in containers)
        return rows.cell(
            zone=self._config.zone,
            state=self._state(),
            total=self.executor.total_resources(),
            left=self.executor.remaining_resources(),
            starting=sum(container.state in rows.STARTING for container in containers),
            instances=len(containers) - tasks,
            tasks=tasks,
            orphans=len(self.executor.orphans()),
        )

    def _state(self) -> str:
        if not self._rep.ready.is_set():
            return "starting"
        if not self.executor.healthy:
            return "unhealthy"
        return "evacuating" if self._rep.evacuation else "ok"

    async def follow(self, board: Board, *, alone: bool) -> Never:
        """Keep the board current until cancelled.

        alone: the board is of this cell only, and shows its apps, instances and Tasks, too.
        """
        view = _View(self, board, alone=alone)
        looks = 0
        while True:
            await view.look()
            if looks % SLOW_LOOKS == 0:
                self._show_slow(board)
                await view.read()
            if alone:
                board.complete.set()
            looks += 1
            await asyncio.sleep(LOOK_S)

    def _show_slow(self, board: Board) -> None:
        board.put("cells", self.cell_id, self.cell_row())
        overview = self._rep.outcomes(REPORTS_MOST)
        outcomes = overview.get("outcomes", [])
        assert isinstance(outcomes, list)
        now_s = time.time()
        shown = {f"{self.cell_id}/{each['container_guid']}": each for each in outcomes}
        for row_id, outcome in shown.items():
            board.put("reports", row_id, rows.report(self.cell_id, outcome, now_s))
        board.retain("reports", {*shown, *_of_others(board, "reports", self.cell_id)})
        ledger = {key: overview.get(key) for key in ("waiting", "bbs_available", "journal_trouble")}
        board.put("ledgers", self.cell_id, ledger)


class _View:
    """What a board shows of a cell. Containers are values: one that is the same object has not changed."""

    def __init__(self, cell: LocalCell, board: Board, *, alone: bool) -> None:
        self._cell = cell
        self._board = board
        self._alone = alone
        self._shown: dict[str, Container] = {}
        self._told = 0

    async def look(self) -> None:
        """Show the containers that changed since the last look, and what happened."""
        containers = {each.guid: each for each in self._cell.executor.containers()}
        changed = [each for each in containers.values() if self._shown.get(each.guid) is not each]
        gone = self._shown.keys() - containers.keys()
        for number, container in enumerate(changed):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            self._show(container)
        for guid in gone:
            self._hide(self._shown.pop(guid))
        if gone and self._alone:
            self._board.retain("apps", {rows.app_of(each) for each in self._shown.values()})
        if changed or gone:
            self._board.put("cells", self._cell.cell_id, self._cell.cell_row())
        for number, happened in enumerate(self._cell.stories.since(self._told)):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            self._told = happened.number
            row_id = f"{self._cell.cell_id}/{happened.number}"
            self._board.put("activity", row_id, rows.activity(self._cell.cell_id, happened))
            self._board.drop("activity", f"{self._cell.cell_id}/{happened.number - ACTIVITY_MOST}")

    async def read(self) -> None:
        """Show what the containers use."""
        readings = self._cell.executor.metrics()
        for number, container in enumerate(list(self._shown.values())):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            row = rows.reading(container, readings.get(container.guid))
            self._board.put("containers", container.guid, row)

    def _show(self, container: Container) -> None:
        self._shown[container.guid] = container
        readings = self._cell.executor.metrics()
        self._board.put("containers", container.guid, rows.reading(container, readings.get(container.guid)))
        if not self._alone:
            return
        cell_id, since = self._cell.cell_id, self._since(container)
        if rows.is_task(container):
            self._board.put("tasks", container.guid, rows.task_on_cell(container, cell_id, since))
        elif app := rows.app_of(container):
            self._board.put("apps", app, rows.app_on_cell(container))
            self._board.put("instances", container.guid, rows.instance_on_cell(container, cell_id, since))

    def _hide(self, container: Container) -> None:
        self._board.drop("containers", container.guid)
        if self._alone:
            self._board.drop("tasks", container.guid)
            self._board.drop("instances", container.guid)

    def _since(self, container: Container) -> int:
        """When the container came into its state, as far as its story tells."""
        story = self._cell.stories.of(container.guid)
        if story is not None:
            for moment in reversed(story.moments):
                if moment.what == container.state.value:
                    return moment.time_ns // rows.NS_PER_MS
        return container.allocated_at // rows.NS_PER_MS


def _of_others(board: Board, table: str, cell_id: str) -> set[str]:
    """The ids of the rows of other cells."""
    return {each for each in board.ids(table) if not each.startswith(f"{cell_id}/")}
