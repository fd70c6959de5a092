"""How a model field looks in JSON.

Models are plain dataclasses; a field whose JSON form is not simply its own name carries a
:class:`Json` in its annotation, and an integer field its :class:`Width`. The codec
(``bbs.models.codec``) reads these marks, so the JSON table of a model is the class itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias


@dataclass(frozen=True, slots=True)
class Json:
    """Mark of one field.

    key: the JSON key, exact case as the Go programs write it (readers ignore case). ``a.b`` is member
        ``b`` of an own object ``a``; ``a`` is ``null`` while the field is None.
    omit: left out when empty or zero (Go ``omitempty``); else written always, ``null`` for an empty list
        or an absent message. For a key ``a.b`` it concerns ``b``.
    raw: a map whose values are JSON texts (bytes), written inline.
    flatten: the sub-message's own keys stand directly in the parent object.
    number: an enum that travels as its number; others travel as their names.
    lenient: an enum whose unknown names read as the value 0 instead of being refused.
    """

    key: str = ""
    omit: bool = False
    raw: bool = False
    flatten: bool = False
    number: bool = False
    lenient: bool = False


FLATTEN = Json(flatten=True)


@dataclass(frozen=True, slots=True)
class Width:
    """The numbers an integer field can hold, both ends included."""

    low: int
    high: int


Int32: TypeAlias = Annotated[int, Width(-(2**31), 2**31 - 1)]
Int64: TypeAlias = Annotated[int, Width(-(2**63), 2**63 - 1)]
UInt32: TypeAlias = Annotated[int, Width(0, 2**32 - 1)]
UInt64: TypeAlias = Annotated[int, Width(0, 2**64 - 1)]
