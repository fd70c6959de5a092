"""Where the rows of a page come from: one cell, or a control plane and its cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Never, Protocol

from cell.page.board import Board
from cell.page.detail import Sources
from cell.page.local import LocalCell


class Source(Protocol):
    """The rows of a page, and the containers it can show."""

    def about(self) -> Mapping[str, object]:
        """What the page is about: ``scope`` (``cell``, ``control``) and ``name``."""
        ...

    async def follow(self, board: Board) -> Never:
        """Fill the board, set ``complete``, and keep it current until cancelled."""
        ...

    def container(self, guid: str) -> Sources | None:
        """The sources of a container's page; None for a container that this process does not know."""
        ...


class CellSource:
    """One cell."""

    def __init__(self, cell: LocalCell) -> None:
        self._cell = cell

    def about(self) -> Mapping[str, object]:
        return {"scope": "cell", "name": self._cell.cell_id}

    async def follow(self, board: Board) -> Never:
        await self._cell.follow(board, alone=True)

    def container(self, guid: str) -> Sources | None:
        return self._cell.sources(guid)
