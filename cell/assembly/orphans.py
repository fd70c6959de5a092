"""Orphans of a cell whose rep does not run: its containers that the journal does not name."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from cell.assembly.cell import JOURNAL_FOLDER, engine_config
from cell.assembly.locks import STATE_LOCK, take
from cell.errors import CommandError
from executor.engine.docker import DockerEngine
from executor.journal.opening import read_copy
from executor.journal.schema import Damaged
from executor.journal.sqlite import FILE_NAME
from rep.config import RepConfig


class RepRuns(CommandError):
    """The rep runs, so it alone knows its containers."""


@contextmanager
def without_rep(config: RepConfig) -> Iterator[None]:
    """Keep a rep of this configuration from starting. Raises RepRuns, OSError."""
    with ExitStack() as stack:
        lock = Path(config.state_dir) / STATE_LOCK
        if lock.parent.is_dir() and (holder := take(lock, stack)) is not None:
            raise RepRuns(f"cell {config.cell_id}: its rep{holder} runs, but does not answer")
        yield


@asynccontextmanager
async def engine_of(config: RepConfig) -> AsyncIterator[DockerEngine]:
    """The engine, for the containers of the cell."""
    engine = DockerEngine(engine_config(config, config.container_owner_name))
    try:
        yield engine
    finally:
        await engine.close()


def recorded(config: RepConfig) -> set[str]:
    """The guids of the containers that the next rep knows. Raises CommandError."""
    file = Path(config.state_dir) / JOURNAL_FOLDER / FILE_NAME
    try:
        return {row.guid for row in read_copy(file).containers}
    except (sqlite3.Error, Damaged) as error:
        raise CommandError(f"{file} cannot be read, so orphans cannot be told apart: {error}") from error
