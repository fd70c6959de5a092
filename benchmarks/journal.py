"""Journal: the cost of a write, against bare SQLite on the same disk.

Each write is a row of 4 KiB. Alone, each waits for the one before. In groups, 100 writes wait at the same
time, as in a burst of starts. The floor writes the same rows with the same pragmas, one commit for each, in
the calling thread. Times are CPU times of the process.

    .venv/bin/python -m benchmarks.journal
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

from benchmarks.figures import Figure, arguments_of, hand_on
from executor.journal.api import ContainerRow, Put
from executor.journal.opening import connect
from executor.journal.sqlite import SQLiteJournal

VALUE = b"x" * 4096
GROUP = 100

INSERT = "INSERT OR REPLACE INTO containers (guid, value) VALUES (?, ?)"

Names = Callable[[], str]


async def alone(journal: SQLiteJournal, writes: int, name: Names) -> float:
    """CPU seconds of writes, one after another."""
    began = time.process_time()
    for _ in range(writes):
        await journal.write(Put(ContainerRow(guid=name(), value=VALUE)))
    return time.process_time() - began


async def grouped(journal: SQLiteJournal, writes: int, name: Names) -> float:
    """CPU seconds of writes, 100 at a time."""
    began = time.process_time()
    for _ in range(writes // GROUP):
        rows = (Put(ContainerRow(guid=name(), value=VALUE)) for _ in range(GROUP))
        await asyncio.gather(*map(journal.write, rows))
    return time.process_time() - began


def bare(connection: sqlite3.Connection, writes: int, name: Names) -> float:
    """CPU seconds of commits, one after another."""
    began = time.process_time()
    for _ in range(writes):
        connection.execute(INSERT, (name(), VALUE))
    return time.process_time() - began


async def measure(writes: int, rounds: int) -> list[Figure]:
    """Print the costs of a write."""
    numbers = count()
    costs: dict[str, list[float]] = {"alone": [], "grouped": [], "bare": []}

    def name() -> str:
        return f"guid-{next(numbers):08}"

    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as folder:
        async with SQLiteJournal(Path(folder) / "journal") as journal:
            with closing(connect(Path(folder) / "bare.db")) as connection:
                connection.execute(
                    "CREATE TABLE containers (guid TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
                )
                for _ in range(rounds):
                    costs["alone"].append(await alone(journal, writes, name))
                    costs["grouped"].append(await grouped(journal, writes, name))
                    costs["bare"].append(bare(connection, writes, name))
    each = {side: 1000 * statistics.median(seconds) / writes for side, seconds in costs.items()}
    figures = [Figure(side, each[side], "ms", floor=each["bare"]) for side in ("alone", "grouped")]
    for figure in figures:
        print(
            f"journal, {figure.name:7}: {figure:.3f} ms of CPU a write, bare SQLite {figure.floor:.3f} ms, "
            f"ratio {figure.ratio:.2f}"
        )
    return figures


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--writes", type=int, default=1000, help="of each kind and round (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side runs (default 5)")
    args = parser.parse_args()
    hand_on(asyncio.run(measure(args.writes, args.rounds)), args.json)


if __name__ == "__main__":
    main()
