"""Locks and presences, as seen from inside a transaction, and the cells that follow from them.

Expiry needs no timer: a resource past its deadline is deleted by whoever looks next, in the same
transaction, so nobody ever sees it. That also makes the generations of a refresh unnecessary that a
server with timers compares before it deletes. After a restart the deadlines mean nothing; every resource
gets its full TTL again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import IntEnum

from bbs.embedded.clock import SECOND, Clock
from bbs.embedded.store.tables import Tables
from bbs.models.cell import CellPresence
from bbs.models.codec import loads
from bbs.models.invalid import InvalidDocument
from bbs.models.validation import validate_cell_presence

logger = logging.getLogger(__name__)


class TypeCode(IntEnum):
    """Kind of a resource."""

    UNKNOWN = 0
    LOCK = 1
    PRESENCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A lock or a presence. ttl_s: seconds it lives without a refresh."""

    key: str
    owner: str
    value: str
    type_code: TypeCode
    ttl_s: int


class Collision(Exception):
    """Somebody else owns the key."""


class Resources:
    """The resources that are alive. clock: for their deadlines."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._connection = tables.connection
        self._now = clock.monotonic()
        self._connection.execute("DELETE FROM resources WHERE deadline <= ?", (self._now,))

    def lock(self, resource: Resource) -> None:
        """Take, or refresh what the owner has already. Raises Collision."""
        self._check_owner(resource.key, resource.owner)
        self._connection.execute(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?)",
            (
                resource.key,
                resource.owner,
                resource.value,
                int(resource.type_code),
                resource.ttl_s,
                self._now + resource.ttl_s * SECOND,
            ),
        )

    def release(self, key: str, owner: str) -> None:
        """Give up; an unknown key is fine. Raises Collision."""
        self._check_owner(key, owner)
        self._connection.execute("DELETE FROM resources WHERE key = ?", (key,))

    def fetch(self, key: str) -> Resource | None:
        row = self._connection.execute(
            "SELECT key, owner, value, type_code, ttl_s FROM resources WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else _resource(row)

    def fetch_all(self, type_code: TypeCode) -> list[Resource]:
        rows = self._connection.execute(
            "SELECT key, owner, value, type_code, ttl_s FROM resources WHERE type_code = ?", (int(type_code),)
        )
        return [_resource(row) for row in rows]

    def _check_owner(self, key: str, owner: str) -> None:
        held = self.fetch(key)
        if held is not None and held.owner != owner:
            raise Collision(key)


def restart_ttls(tables: Tables, clock: Clock) -> None:
    """To be done once, before anything else, when the server starts."""
    tables.connection.execute("UPDATE resources SET deadline = ? + ttl_s * ?", (clock.monotonic(), SECOND))


def cells(tables: Tables, clock: Clock) -> dict[str, CellPresence]:
    """The registered cells by id; a presence that is none is left out and logged."""
    found: dict[str, CellPresence] = {}
    for resource in Resources(tables, clock).fetch_all(TypeCode.PRESENCE):
        try:
            presence = loads(CellPresence, resource.value)
        except InvalidDocument as error:
            logger.info("invalid-presence", extra={"data": {"key": resource.key, "error": str(error)}})
            continue
        problems = validate_cell_presence(presence)
        if problems:
            logger.info(
                "invalid-presence", extra={"data": {"key": resource.key, "error": ", ".join(problems)}}
            )
            continue
        found[presence.cell_id] = presence
    return found


def rep_url(cell: CellPresence) -> str:
    """Where a cell's rep is called."""
    return cell.rep_url or cell.rep_address


def _resource(row: tuple[str, str, str, int, int]) -> Resource:
    key, owner, value, type_code, ttl_s = row
    return Resource(key=key, owner=owner, value=value, type_code=TypeCode(type_code), ttl_s=ttl_s)
