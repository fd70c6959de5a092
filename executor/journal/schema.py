"""The tables of the journal, their migrations, and the statements for rows and changes. Pure.

Each row carries a checksum of its key and value, because SQLite does not detect changed bytes inside a row.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, TypeAlias

from executor.journal.api import (
    Change,
    ContainerRow,
    Contents,
    DeleteContainer,
    DeleteFact,
    DeleteOutcome,
    FactRow,
    OutcomeRow,
    Put,
    Row,
    StepRow,
)

Value: TypeAlias = str | bytes | int
Statement: TypeAlias = tuple[str, tuple[Value, ...]]

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        "CREATE TABLE containers (guid TEXT PRIMARY KEY, engine_id TEXT NOT NULL, value BLOB NOT NULL,"
        " checksum INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE steps (position INTEGER PRIMARY KEY, guid TEXT NOT NULL,"
        " path TEXT NOT NULL, ended INTEGER NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,"
        " UNIQUE (guid, path))",
        "CREATE TABLE facts (key TEXT PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL)"
        " WITHOUT ROWID",
        "CREATE TABLE outcomes (position INTEGER PRIMARY KEY, guid TEXT NOT NULL UNIQUE,"
        " value BLOB NOT NULL, checksum INTEGER NOT NULL)",
    ),
)
"""The statements from each schema version to the next, beginning with version 0, the empty file. Released
entries never change; a new version is a new entry."""

SCHEMA_VERSION: Final = len(MIGRATIONS)


def mark(version: int) -> int:
    """The application id of a file with this schema version: a damaged file seldom has the right one."""
    return zlib.crc32(b"diego-cell journal %d" % version) & 0x7FFFFFFF


SELECT_CONTAINERS: Final = "SELECT guid, engine_id, value, checksum FROM containers ORDER BY guid"
SELECT_STEPS: Final = "SELECT guid, path, ended, value, checksum FROM steps ORDER BY position"
SELECT_FACTS: Final = "SELECT key, value, checksum FROM facts ORDER BY key"
SELECT_OUTCOMES: Final = "SELECT guid, value, checksum FROM outcomes ORDER BY position"

_INSERTS: Final = {
    ContainerRow: "INSERT OR REPLACE INTO containers (guid, engine_id, value, checksum) VALUES (?, ?, ?, ?)",
    StepRow: "INSERT OR REPLACE INTO steps (guid, path, ended, value, checksum) VALUES (?, ?, ?, ?, ?)",
    FactRow: "INSERT OR REPLACE INTO facts (key, value, checksum) VALUES (?, ?, ?)",
    OutcomeRow: "INSERT INTO outcomes (guid, value, checksum) VALUES (?, ?, ?)"
    " ON CONFLICT (guid) DO UPDATE SET value = excluded.value, checksum = excluded.checksum",
}


_KEY_COLUMNS: Final = {
    _INSERTS[ContainerRow]: 1,
    _INSERTS[StepRow]: 2,
    _INSERTS[FactRow]: 1,
}
"""Number of key columns of the statements that replace a row."""


class Damaged(Exception):
    """Stored data is not what was written; the message names the row."""


def statements(change: Change) -> Sequence[Statement]:
    """The statements that carry out a change. Raises UnicodeEncodeError."""
    match change:
        case Put(row):
            columns = _columns(row)
            return ((_INSERTS[type(row)], (*columns, checksum(columns))),)
        case DeleteContainer(guid):
            tables = ("containers", "steps")
            return tuple((f"DELETE FROM {table} WHERE guid = ?", _key(guid)) for table in tables)
        case DeleteFact(key):
            return (("DELETE FROM facts WHERE key = ?", _key(key)),)
        case DeleteOutcome(guid):
            return (("DELETE FROM outcomes WHERE guid = ?", _key(guid)),)


def latest(statements: Sequence[Statement]) -> list[Statement]:
    """The statements without those that a later one for the same key makes void, in order.

    So statements that wait for a full disk need no more space than the rows themselves.
    """
    kept: dict[tuple[str, tuple[Value, ...]], Statement] = {}
    for statement, values in statements:
        key = statement, tuple(values[: _KEY_COLUMNS.get(statement, len(values))])
        kept.pop(key, None)
        kept[key] = statement, values
    return list(kept.values())


def contents(
    containers: Sequence[tuple[Value, ...]],
    steps: Sequence[tuple[Value, ...]],
    facts: Sequence[tuple[Value, ...]],
    outcomes: Sequence[tuple[Value, ...]],
) -> Contents:
    """The rows from the results of the SELECT statements. Raises Damaged."""
    return Contents(
        containers=[
            ContainerRow(guid=str(guid), engine_id=str(engine_id), value=_blob(value))
            for guid, engine_id, value in map(_checked, containers)
        ],
        steps=[
            StepRow(guid=str(guid), path=str(path), ended=bool(ended), value=_blob(value))
            for guid, path, ended, value in map(_checked, steps)
        ],
        facts={str(key): _blob(value) for key, value in map(_checked, facts)},
        outcomes=[OutcomeRow(guid=str(guid), value=_blob(value)) for guid, value in map(_checked, outcomes)],
    )


def checksum(columns: Sequence[Value]) -> int:
    """The checksum of a row's columns. Raises UnicodeEncodeError for text that SQLite cannot store."""
    result = 0
    for column in columns:
        data = column if isinstance(column, bytes) else str(column).encode()
        result = zlib.crc32(data, zlib.crc32(len(data).to_bytes(8, "big"), result))
    return result


def _key(*columns: str) -> tuple[str, ...]:
    """The columns of a key. Raises UnicodeEncodeError."""
    for column in columns:
        column.encode()
    return columns


def _columns(row: Row) -> tuple[Value, ...]:
    match row:
        case ContainerRow():
            return (row.guid, row.engine_id, row.value)
        case StepRow():
            return (row.guid, row.path, int(row.ended), row.value)
        case FactRow():
            return (row.key, row.value)
        case OutcomeRow():
            return (row.guid, row.value)


def _checked(columns: tuple[Value, ...]) -> tuple[Value, ...]:
    *values, expected = columns
    if checksum(values) != expected:
        raise Damaged(f"the row of {values[0]!r} has a wrong checksum")
    return tuple(values)


def _blob(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise Damaged(f"a value has type {type(value).__name__}")
    return value
