"""Annotations for the JSON form of model fields.

Models are plain dataclasses. If the JSON form of a field is not simply its name, its annotation has a
:class:`Json`; an integer field has a :class:`Width`. The codec (``bbs.models.codec``) reads these marks, so
the class itself is the JSON table of a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias


@dataclass(frozen=True, slots=True)
class Json:
    """Mark of one field.

    key: the JSON key, in the case that the Go programs write (readers ignore case). ``a.b`` is member ``b``
    of a separate object ``a``; ``a`` is ``null`` while the field is None.
    omit: omitted if empty or zero (Go ``omitempty``). Otherwise always written, as ``null`` for an empty list
    or an absent message. For a key ``a.b`` this applies to ``b``.
    raw: a map whose values are JSON texts (bytes), written inline.
    flatten: the sub-message's keys are written directly into the parent object.
    number: an enum written as its number; other enums are written as their names.
    lenient: unknown names of an enum are read as the value 0 instead of being refused.
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
    """Range of an integer field, both ends included."""

    low: int
    high: int


Int32: TypeAlias = Annotated[int, Width(-(2**31), 2**31 - 1)]
Int64: TypeAlias = Annotated[int, Width(-(2**63), 2**63 - 1)]
UInt32: TypeAlias = Annotated[int, Width(0, 2**32 - 1)]
UInt64: TypeAlias = Annotated[int, Width(0, 2**64 - 1)]
