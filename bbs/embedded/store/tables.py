"""Tables of the store, inside a transaction.

Each table has columns for queries and the whole record as protobuf (:mod:`bbs.embedded.store.records`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TypedDict, Unpack

from bbs.embedded.decisions.events import group_events, removed
from bbs.embedded.decisions.lrps import Outcome
from bbs.embedded.decisions.rows import Rows, group
from bbs.embedded.events.hub import LRP_STREAMS, Notice, Stream
from bbs.embedded.store.records import Decoder
from bbs.models.actual_lrp import ActualLRP, ActualLRPGroup
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import (
    ActualLRPRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    TaskChangedEvent,
    TaskCreatedEvent,
    TaskRemovedEvent,
)
from bbs.models.locket import Resource, TypeCode
from bbs.models.task import Task
from bbs.wire.mapping import encode, to_wire
from bbs.wire.proto import actual_lrp_pb2, desired_lrp_pb2, task_pb2

SCHEMA: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE desired_lrps (
            process_guid TEXT PRIMARY KEY, domain TEXT NOT NULL, payload BLOB NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX desired_lrps_by_domain ON desired_lrps (domain)",
        """CREATE TABLE actual_lrps (
            process_guid TEXT, instance_index INTEGER, presence INTEGER, domain TEXT NOT NULL,
            state TEXT NOT NULL, instance_guid TEXT NOT NULL, cell_id TEXT NOT NULL, since INTEGER NOT NULL,
            payload BLOB NOT NULL, PRIMARY KEY (process_guid, instance_index, presence)) WITHOUT ROWID""",
        "CREATE INDEX actual_lrps_by_cell ON actual_lrps (cell_id)",
        "CREATE INDEX actual_lrps_by_domain ON actual_lrps (domain)",
        """CREATE TABLE tasks (
            task_guid TEXT PRIMARY KEY, domain TEXT NOT NULL, state INTEGER NOT NULL, cell_id TEXT NOT NULL,
            updated_at INTEGER NOT NULL, first_completed_at INTEGER NOT NULL, payload BLOB NOT NULL
            ) WITHOUT ROWID""",
        "CREATE INDEX tasks_by_cell ON tasks (cell_id)",
        "CREATE INDEX tasks_by_domain ON tasks (domain)",
        # expires_at: ns since the epoch, NULL for never
        "CREATE TABLE domains (domain TEXT PRIMARY KEY, expires_at INTEGER) WITHOUT ROWID",
        # deadline: not used; deadlines are in memory
        """CREATE TABLE resources (
            key TEXT PRIMARY KEY, owner TEXT NOT NULL, value TEXT NOT NULL, type_code INTEGER NOT NULL,
            ttl_s INTEGER NOT NULL, deadline INTEGER NOT NULL) WITHOUT ROWID""",
    ),
)
"""Statements that migrate each schema version to the next."""

SCHEMA_VERSION = len(SCHEMA)

LAST_CHARACTER = chr(0x10FFFF)
"""Sorts after every character of a guid."""

MANY = 400
"""Maximum values in one statement. SQLite limits statement parameters; requests may have any number."""

_desired_lrp = Decoder(desired_lrp_pb2.DesiredLRP, DesiredLRP)
_actual_lrp = Decoder(actual_lrp_pb2.ActualLRP, ActualLRP)
_task = Decoder(task_pb2.Task, Task)


class Instances(TypedDict, total=False):
    """Which instances are wanted. Filters are ANDed; empty and missing ones match all."""

    domain: str
    cell_id: str
    process_guid: str
    index: int | None
    process_guids: Sequence[str]


class Tables:
    """Queries and changes of one transaction.

    notices: events to publish after the commit.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.notices: list[Notice] = []

    # -- desired LRPs ------------------------------------------------------------------------------------

    def desired_lrp(self, process_guid: str) -> DesiredLRP:
        """Raises ResourceNotFound."""
        found = self.find_desired_lrp(process_guid)
        if found is None:
            raise BBSError(ErrorType.ResourceNotFound)
        return found

    def find_desired_lrp(self, process_guid: str) -> DesiredLRP | None:
        row = self.connection.execute(
            "SELECT payload FROM desired_lrps WHERE process_guid = ?", (process_guid,)
        ).fetchone()
        return None if row is None else _desired_lrp(row[0])

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> list[DesiredLRP]:
        """Filters are ANDed; empty ones match all. app_guids: prefixes of process_guid, ORed."""
        where = _Where()
        where.equal("domain", domain)
        where.any_of("process_guid", process_guids)
        prefixes = tuple(app_guids)
        where.any_prefix("process_guid", prefixes)
        found = self.connection.execute(
            f"SELECT process_guid, payload FROM desired_lrps {where}", where.values
        )
        return [
            lrp
            for process_guid, payload in found
            if where.among(process_guid) and (not prefixes or process_guid.startswith(prefixes))
            for lrp in _desired_lrp.readable(process_guid, payload)
        ]

    def insert_desired_lrp(self, lrp: DesiredLRP, trace_id: str) -> None:
        """Raises ResourceExists."""
        try:
            self.connection.execute(
                "INSERT INTO desired_lrps VALUES (?, ?, ?)",
                (lrp.process_guid, lrp.domain, encode(to_wire(lrp))),
            )
        except sqlite3.IntegrityError as error:
            raise BBSError(ErrorType.ResourceExists) from error
        self.notices.append(Notice(DesiredLRPCreatedEvent(desired_lrp=lrp, trace_id=trace_id), LRP_STREAMS))

    def replace_desired_lrp(self, before: DesiredLRP, after: DesiredLRP, trace_id: str) -> None:
        self.connection.execute(
            "UPDATE desired_lrps SET domain = ?, payload = ? WHERE process_guid = ?",
            (after.domain, encode(to_wire(after)), after.process_guid),
        )
        event = DesiredLRPChangedEvent(before=before, after=after, trace_id=trace_id)
        self.notices.append(Notice(event, LRP_STREAMS))

    def delete_desired_lrp(self, lrp: DesiredLRP, trace_id: str) -> None:
        self.connection.execute("DELETE FROM desired_lrps WHERE process_guid = ?", (lrp.process_guid,))
        self.notices.append(Notice(DesiredLRPRemovedEvent(desired_lrp=lrp, trace_id=trace_id), LRP_STREAMS))

    # -- actual LRPs -------------------------------------------------------------------------------------

    def rows(self, process_guid: str, index: int) -> Rows:
        """The rows of one index."""
        return group(self.actual_lrps(process_guid=process_guid, index=index))

    def actual_lrps(self, **wanted: Unpack[Instances]) -> list[ActualLRP]:
        found = self._select_actual_lrps(**wanted)
        return [lrp for guid, payload in found for lrp in _actual_lrp.readable(guid, payload)]

    def actual_lrp_records(self, **wanted: Unpack[Instances]) -> list[bytes]:
        """The same as encoded messages."""
        found = self._select_actual_lrps(**wanted)
        return [payload for guid, payload in found if _actual_lrp.undamaged(guid, payload)]

    def _select_actual_lrps(self, **wanted: Unpack[Instances]) -> Iterator[tuple[str, bytes]]:
        where = _Where()
        where.equal("domain", wanted.get("domain", ""))
        where.equal("cell_id", wanted.get("cell_id", ""))
        where.equal("process_guid", wanted.get("process_guid", ""))
        where.any_of("process_guid", wanted.get("process_guids", ()))
        if (index := wanted.get("index")) is not None:
            where.add("instance_index = ?", index)
        found = self.connection.execute(
            f"SELECT process_guid, payload FROM actual_lrps {where}", where.values
        )
        return ((guid, payload) for guid, payload in found if where.among(guid))

    def count_ordinary(self, process_guid: str, state: str) -> int:
        """Number of ORDINARY rows of a process in a state."""
        (count,) = self.connection.execute(
            "SELECT COUNT(*) FROM actual_lrps WHERE process_guid = ? AND presence = 0 AND state = ?",
            (process_guid, state),
        ).fetchone()
        return int(count)

    def apply(self, before: Rows, outcome: Outcome) -> None:
        """Store the outcome of a transition on an index, and add its notices."""
        kept = {row.presence: row for row in outcome.after}
        for row in before:
            if row.presence not in kept:
                self.connection.execute(
                    "DELETE FROM actual_lrps WHERE process_guid = ? AND instance_index = ? AND presence = ?",
                    (row.actual_lrp_key.process_guid, row.actual_lrp_key.index, int(row.presence)),
                )
        for row in outcome.after:
            if before.presence(row.presence) != row:
                self._put_actual_lrp(row)
        self.notices += [Notice(event, frozenset({Stream.INSTANCES})) for event in outcome.events]
        self.notices += [
            Notice(event, frozenset({Stream.GROUPS}))
            for event in group_events(before, outcome.after, outcome.events)
        ]

    def publish_retired(self, row: ActualLRP, trace_id: str) -> None:
        """Publish the removal of a retired instance at once; the report of its cell publishes it again."""
        gone = ActualLRPRemovedEvent(actual_lrp_group=ActualLRPGroup(instance=row))
        self.notices.append(Notice(removed(row, trace_id), frozenset({Stream.INSTANCES})))
        self.notices.append(Notice(gone, frozenset({Stream.GROUPS})))

    def _put_actual_lrp(self, row: ActualLRP) -> None:
        key, instance = row.actual_lrp_key, row.actual_lrp_instance_key
        self.connection.execute(
            "INSERT OR REPLACE INTO actual_lrps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key.process_guid,
                key.index,
                int(row.presence),
                key.domain,
                row.state,
                instance.instance_guid,
                instance.cell_id,
                row.since,
                encode(to_wire(row)),
            ),
        )

    # -- tasks -------------------------------------------------------------------------------------------

    def task(self, task_guid: str) -> Task:
        """Raises ResourceNotFound."""
        row = self.connection.execute(
            "SELECT payload FROM tasks WHERE task_guid = ?", (task_guid,)
        ).fetchone()
        if row is None:
            raise BBSError(ErrorType.ResourceNotFound)
        return _task(row[0])

    def tasks(self, domain: str = "", cell_id: str = "") -> list[Task]:
        """Filters are ANDed; empty filters match all."""
        found = self._select_tasks(domain, cell_id)
        return [task for task_guid, payload in found for task in _task.readable(task_guid, payload)]

    def task_records(self, domain: str = "", cell_id: str = "") -> list[bytes]:
        """The same as encoded messages."""
        found = self._select_tasks(domain, cell_id)
        return [payload for task_guid, payload in found if _task.undamaged(task_guid, payload)]

    def _select_tasks(self, domain: str, cell_id: str) -> Iterator[tuple[str, bytes]]:
        where = _Where()
        where.equal("domain", domain)
        where.equal("cell_id", cell_id)
        return self.connection.execute(f"SELECT task_guid, payload FROM tasks {where}", where.values)

    def insert_task(self, task: Task) -> None:
        """Raises ResourceExists."""
        try:
            self.connection.execute("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?)", _task_columns(task))
        except sqlite3.IntegrityError as error:
            raise BBSError(ErrorType.ResourceExists) from error
        self._publish_task(TaskCreatedEvent(task=task))

    def replace_task(self, before: Task, after: Task) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?)", _task_columns(after)
        )
        self._publish_task(TaskChangedEvent(before=before, after=after))

    def delete_task(self, task: Task) -> None:
        self.connection.execute("DELETE FROM tasks WHERE task_guid = ?", (task.task_guid,))
        self._publish_task(TaskRemovedEvent(task=task))

    def _publish_task(self, event: TaskCreatedEvent | TaskChangedEvent | TaskRemovedEvent) -> None:
        self.notices.append(Notice(event, frozenset({Stream.TASKS})))

    # -- domains -----------------------------------------------------------------------------------------

    def upsert_domain(self, domain: str, expires_at: int | None) -> None:
        self.connection.execute("INSERT OR REPLACE INTO domains VALUES (?, ?)", (domain, expires_at))

    def fresh_domains(self, now: int) -> list[str]:
        found = self.connection.execute(
            "SELECT domain FROM domains WHERE expires_at IS NULL OR expires_at > ?", (now,)
        )
        return [domain for (domain,) in found]

    def prune_domains(self, now: int) -> None:
        self.connection.execute("DELETE FROM domains WHERE expires_at <= ?", (now,))

    # -- locks and presences -----------------------------------------------------------------------------

    def resources(self) -> list[tuple[Resource, int]]:
        """All resources, each with its TTL in seconds."""
        found = self.connection.execute("SELECT key, owner, value, type_code, ttl_s FROM resources")
        return [
            (Resource(key=key, owner=owner, value=value, type_code=TypeCode(type_code)), ttl_s)
            for key, owner, value, type_code, ttl_s in found
        ]

    def put_resource(self, resource: Resource, ttl_s: int) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, 0)",
            (resource.key, resource.owner, resource.value, int(resource.type_code), ttl_s),
        )

    def delete_resource(self, key: str) -> None:
        self.connection.execute("DELETE FROM resources WHERE key = ?", (key,))


class _Where:
    """Builder of a WHERE clause."""

    def __init__(self) -> None:
        self._terms: list[str] = []
        self._among: frozenset[str] | None = None
        self.values: list[str | int] = []

    def add(self, term: str, *values: str | int) -> None:
        self._terms.append(term)
        self.values += values

    def equal(self, column: str, value: str) -> None:
        if value:
            self.add(f"{column} = ?", value)

    def any_of(self, column: str, values: Sequence[str]) -> None:
        """Match one of the values; no values match all. For many, the caller filters rows with ``among``."""
        if len(values) > MANY:
            self._among = frozenset(values)
        elif values:
            self.add(f"{column} IN ({', '.join('?' * len(values))})", *values)

    def any_prefix(self, column: str, prefixes: Sequence[str]) -> None:
        """Limit the search to values with one of the prefixes. For many, it is not limited."""
        if 0 < len(prefixes) <= MANY:
            ranges = " OR ".join([f"{column} BETWEEN ? AND ?"] * len(prefixes))
            self.add(f"({ranges})", *(bound for each in prefixes for bound in (each, each + LAST_CHARACTER)))

    def among(self, value: str) -> bool:
        """Whether a row's value is one of the many values."""
        return self._among is None or value in self._among

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._terms)}" if self._terms else ""


def _task_columns(task: Task) -> tuple[str | int | bytes, ...]:
    return (
        task.task_guid,
        task.domain,
        int(task.state),
        task.cell_id,
        task.updated_at,
        task.first_completed_at,
        encode(to_wire(task)),
    )
