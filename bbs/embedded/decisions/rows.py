"""The rows of one index, and the initial values of new rows.

An index has at most one ORDINARY, one EVACUATING and one SUSPECT row. Every decision about an index takes a
:class:`Rows` and returns another; the store writes the difference.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, Presence
from bbs.models.common import ModificationTag

UNCLAIMED = "UNCLAIMED"
CLAIMED = "CLAIMED"
RUNNING = "RUNNING"
CRASHED = "CRASHED"

ON_A_CELL = frozenset({CLAIMED, RUNNING})
"""States in which a row names an instance on a cell."""

TEXT_LIMIT = 1024
"""Maximum bytes of crash, placement, failure and rejection reasons."""

TRUNCATED = "(truncated)"


@dataclass(frozen=True, slots=True)
class Rows:
    """Up to three rows of one index."""

    ordinary: ActualLRP | None = None
    evacuating: ActualLRP | None = None
    suspect: ActualLRP | None = None

    def __iter__(self) -> Iterator[ActualLRP]:
        return (row for row in (self.ordinary, self.evacuating, self.suspect) if row is not None)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def of(self, instance_key: ActualLRPInstanceKey) -> ActualLRP | None:
        """The row with exactly this instance key."""
        return next((row for row in self if row.actual_lrp_instance_key == instance_key), None)

    def presence(self, presence: Presence) -> ActualLRP | None:
        """The row with that presence."""
        return next((row for row in self if row.presence == presence), None)

    def with_row(self, row: ActualLRP) -> Rows:
        """These rows, with the row of the same presence replaced."""
        match row.presence:
            case Presence.ORDINARY:
                return replace(self, ordinary=row)
            case Presence.EVACUATING:
                return replace(self, evacuating=row)
            case Presence.SUSPECT:
                return replace(self, suspect=row)

    def without(self, presence: Presence) -> Rows:
        """These rows without the row of that presence."""
        match presence:
            case Presence.ORDINARY:
                return replace(self, ordinary=None)
            case Presence.EVACUATING:
                return replace(self, evacuating=None)
            case Presence.SUSPECT:
                return replace(self, suspect=None)


def group(rows: Iterable[ActualLRP]) -> Rows:
    """Collect the rows of one index."""
    result = Rows()
    for row in rows:
        result = result.with_row(row)
    return result


def by_index(rows: Iterable[ActualLRP]) -> dict[tuple[str, int], Rows]:
    """Group rows by index, keyed by (process_guid, index)."""
    result: dict[tuple[str, int], Rows] = {}
    for row in rows:
        key = (row.actual_lrp_key.process_guid, row.actual_lrp_key.index)
        result[key] = result.get(key, Rows()).with_row(row)
    return result


def new_tag() -> ModificationTag:
    """Tag of a new record."""
    return ModificationTag(epoch=str(uuid.uuid4()))


def next_tag(tag: ModificationTag | None) -> ModificationTag:
    """Tag after one more change."""
    return new_tag() if tag is None else ModificationTag(epoch=tag.epoch, index=tag.index + 1)


def new_unclaimed(key: ActualLRPKey, now: int) -> ActualLRP:
    """A row for an index without one. now: ns since the epoch."""
    return ActualLRP(
        actual_lrp_key=key, state=UNCLAIMED, since=now, modification_tag=new_tag(), routable=False
    )


def to_unclaimed(row: ActualLRP, now: int) -> ActualLRP:
    """The row without its instance. Routes, tags, routable and zone stay until the next start."""
    return replace(
        row,
        state=UNCLAIMED,
        actual_lrp_instance_key=ActualLRPInstanceKey(),
        actual_lrp_net_info=ActualLRPNetInfo(),
        presence=Presence.ORDINARY,
        since=now,
        modification_tag=next_tag(row.modification_tag),
    )


def cut(text: str) -> str:
    """Truncate a reason to the limit, in bytes of UTF-8, and mark it as truncated."""
    raw = text.encode(errors="replace")
    if len(raw) <= TEXT_LIMIT:
        return text
    return raw[: TEXT_LIMIT - len(TRUNCATED)].decode(errors="ignore") + TRUNCATED
