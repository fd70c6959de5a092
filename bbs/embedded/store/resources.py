"""Locks and presences inside a transaction, and the registered cells.

Expiry needs no timer: every access first deletes expired resources in the same transaction, so expired
resources are never visible. A refresh therefore needs no generation counter, which timer-based servers
compare before they delete. Deadlines are invalid after a restart, so every resource gets its full TTL again.
"""

from __future__ import annotations

import logging

from bbs.embedded.clock import SECOND, Clock
from bbs.embedded.store.tables import Tables
from bbs.models.cell import CellPresence
from bbs.models.codec import loads
from bbs.models.invalid import InvalidDocument
from bbs.models.locket import Resource, TypeCode
from bbs.models.validation import validate_cell_presence

logger = logging.getLogger(__name__)


class Collision(Exception):
    """Another owner holds the key."""


class Resources:
    """The unexpired resources. clock: for their deadlines."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._connection = tables.connection
        self._now = clock.monotonic()
        self._connection.execute("DELETE FROM resources WHERE deadline <= ?", (self._now,))

    def lock(self, resource: Resource, ttl_s: int) -> None:
        """Take a resource, or refresh it if the owner has it. Raises Collision.

        ttl_s: lifetime in seconds without a refresh.
        """
        self._check_owner(resource.key, resource.owner)
        self._connection.execute(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?)",
            (
                resource.key,
                resource.owner,
                resource.value,
                int(resource.type_code),
                ttl_s,
                self._now + ttl_s * SECOND,
            ),
        )

    def release(self, key: str, owner: str) -> None:
        """Release a resource; an unknown key is ignored. Raises Collision."""
        self._check_owner(key, owner)
        self._connection.execute("DELETE FROM resources WHERE key = ?", (key,))

    def fetch(self, key: str) -> Resource | None:
        row = self._connection.execute(
            "SELECT key, owner, value, type_code FROM resources WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else _resource(row)

    def fetch_all(self, type_code: TypeCode) -> list[Resource]:
        rows = self._connection.execute(
            "SELECT key, owner, value, type_code FROM resources WHERE type_code = ?", (int(type_code),)
        )
        return [_resource(row) for row in rows]

    def _check_owner(self, key: str, owner: str) -> None:
        held = self.fetch(key)
        if held is not None and held.owner != owner:
            raise Collision(key)


def restart_ttls(tables: Tables, clock: Clock) -> None:
    """Give every resource its full TTL. Call once at server start, before any other access."""
    tables.connection.execute("UPDATE resources SET deadline = ? + ttl_s * ?", (clock.monotonic(), SECOND))


def cells(tables: Tables, clock: Clock) -> dict[str, CellPresence]:
    """The registered cells by id; an invalid presence is skipped and logged."""
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
    """The URL of a cell's rep."""
    return cell.rep_url or cell.rep_address


def _resource(row: tuple[str, str, str, int]) -> Resource:
    key, owner, value, type_code = row
    return Resource(key=key, owner=owner, value=value, type_code=TypeCode(type_code))
