"""Locks and presences, and the registered cells.

They are in memory: a thousand cells renew their presences two hundred times a second, and a renewal changes
nothing but a deadline. The state file has what a restart of the server needs: a resource is written when it
is taken, changed or gone, never when it is renewed. Deadlines are invalid after a restart, so every resource
gets its full TTL again.

Expiry needs no timer: every access first removes expired resources, so they are never visible.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bbs.embedded.clock import SECOND, Clock
from bbs.embedded.store.database import Store
from bbs.embedded.store.tables import Tables
from bbs.models.cell import CellPresence
from bbs.models.codec import loads
from bbs.models.invalid import InvalidDocument
from bbs.models.locket import Resource, TypeCode
from bbs.models.validation import validate_cell_presence

logger = logging.getLogger(__name__)


HELD_MOST: Final = 20_000
HELD_BYTES: Final = 64 << 20
"""Most resources, and most bytes of their texts together: a thousand cells hold 2 MB."""


class Collision(Exception):
    """Another owner holds the key."""


class Full(Exception):
    """There is no room for the resource; the message says why."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A resource, its deadline in ns of the monotonic clock, and the cell of a valid presence."""

    resource: Resource
    ttl_s: int
    deadline: int
    cell: CellPresence | None

    @classmethod
    def of(cls, resource: Resource, ttl_s: int, now: int) -> _Held:
        cell = _cell(resource) if resource.type_code == TypeCode.PRESENCE else None
        return cls(resource, ttl_s, now + ttl_s * SECOND, cell)


Changes = Mapping[str, _Held | None]
"""New values of resources by key; None for one that is gone."""


class Registry:
    """The unexpired resources. Thread-safe. clock: for their deadlines."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._unsaved: dict[str, _Held | None] = {}
        self._bytes = 0
        self._earliest: float = math.inf
        """No resource expires before this time."""

    async def load(self, store: Store) -> None:
        """Read the resources of an earlier process. Call once, before any other access. Raises StoreError."""
        found = await store.run(lambda tables: tables.resources())
        now = self._clock.monotonic()
        with self._mutex:
            for resource, ttl_s in found:
                self._put(_Held.of(resource, ttl_s, now))

    async def save(self, store: Store) -> None:
        """Write what has changed, until it is durable. Raises StoreError; a later call writes it then."""
        with self._mutex:
            self._expire()
            changes = dict(self._unsaved)
        if not changes:
            return
        await store.run(lambda tables: _write(tables, changes))
        with self._mutex:
            for key, held in changes.items():
                if key in self._unsaved and self._unsaved[key] is held:
                    del self._unsaved[key]

    def lock(self, resource: Resource, ttl_s: int) -> bool:
        """Take a resource, or renew it if the owner has it. Raises Collision, Full.

        ttl_s: lifetime in seconds without a renewal. Returns whether there is something to save.
        """
        with self._mutex:
            known = self._owned(resource.key, resource.owner)
            if known is not None and known.resource == resource and known.ttl_s == ttl_s:
                deadline = self._clock.monotonic() + ttl_s * SECOND
                self._put(replace(known, deadline=deadline))
            else:
                self._make_room(resource, known)
                held = _Held.of(resource, ttl_s, self._clock.monotonic())
                self._put(held)
                self._unsaved[resource.key] = held
            return resource.key in self._unsaved

    def release(self, key: str, owner: str) -> None:
        """Release a resource; an unknown key is ignored. Raises Collision."""
        with self._mutex:
            if self._owned(key, owner) is not None:
                self._remove(key)

    def fetch(self, key: str) -> Resource | None:
        with self._mutex:
            self._expire()
            held = self._held.get(key)
        return None if held is None else held.resource

    def fetch_all(self, type_code: TypeCode) -> list[Resource]:
        with self._mutex:
            self._expire()
            resources = [held.resource for held in self._held.values()]
        return [resource for resource in resources if resource.type_code == type_code]

    def cells(self) -> dict[str, CellPresence]:
        """The registered cells by id, without invalid presences."""
        with self._mutex:
            self._expire()
            found = [held.cell for held in self._held.values() if held.cell is not None]
        return {cell.cell_id: cell for cell in found}

    def _owned(self, key: str, owner: str) -> _Held | None:
        """The unexpired resource, if it exists. Raises Collision for another owner."""
        self._expire()
        held = self._held.get(key)
        if held is not None and held.resource.owner != owner:
            raise Collision(key)
        return held

    def _make_room(self, resource: Resource, known: _Held | None) -> None:
        """Raises Full."""
        if known is None and len(self._held) >= HELD_MOST:
            raise Full(f"there are {HELD_MOST} locks and presences already")
        before = 0 if known is None else _size(known.resource)
        if self._bytes - before + _size(resource) > HELD_BYTES:
            raise Full(f"locks and presences would have more than {HELD_BYTES} bytes")

    def _remove(self, key: str) -> None:
        self._bytes -= _size(self._held.pop(key).resource)
        self._unsaved[key] = None

    def _put(self, held: _Held) -> None:
        before = self._held.get(held.resource.key)
        self._bytes += _size(held.resource) - (0 if before is None else _size(before.resource))
        self._held[held.resource.key] = held
        self._earliest = min(self._earliest, held.deadline)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        if now < self._earliest:
            return
        for key in [key for key, held in self._held.items() if held.deadline <= now]:
            self._remove(key)
        self._earliest = min((held.deadline for held in self._held.values()), default=math.inf)


def _size(resource: Resource) -> int:
    return len(resource.key) + len(resource.owner) + len(resource.value)


def _write(tables: Tables, changes: Changes) -> None:
    for key, held in changes.items():
        if held is None:
            tables.delete_resource(key)
        else:
            tables.put_resource(held.resource, held.ttl_s)


def _cell(resource: Resource) -> CellPresence | None:
    """The cell of a presence; an invalid one is logged."""
    try:
        presence = loads(CellPresence, resource.value)
    except InvalidDocument as error:
        problems = str(error)
    else:
        problems = ", ".join(validate_cell_presence(presence))
        if not problems:
            return presence
    logger.info("invalid-presence", extra={"data": {"key": resource.key, "error": problems}})
    return None


def rep_url(cell: CellPresence) -> str:
    """The URL of a cell's rep."""
    return cell.rep_url or cell.rep_address
