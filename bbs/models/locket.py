"""Locks and presences of Locket."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class TypeCode(IntEnum):
    """Type of a resource; Locket refuses ``UNKNOWN``."""

    UNKNOWN = 0
    LOCK = 1
    PRESENCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A lock or a presence.

    key: name of the resource.
    owner: holder of the key, compared as text.
    value: free text; for a presence, the JSON of its :class:`~bbs.models.cell.CellPresence`.
    """

    key: str
    owner: str
    value: str = ""
    type_code: TypeCode
