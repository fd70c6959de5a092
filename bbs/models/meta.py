"""How a model field looks in JSON.

Models are plain dataclasses; a field whose JSON form is not simply its own name carries a
:class:`Json` in its annotation. The codec (``bbs.models.codec``) reads these marks, so the JSON table
of a model is the class itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Json:
    """Mark of one field.

    key: the JSON key, exact case as the Go programs write it (readers ignore case).
    omit: left out when empty or zero (Go ``omitempty``); else written always, ``null`` for an empty list
        or an absent message.
    raw: a map whose values are JSON texts (bytes), written inline.
    flatten: the sub-message's own keys stand directly in the parent object.
    """

    key: str = ""
    omit: bool = False
    raw: bool = False
    flatten: bool = False


FLATTEN = Json(flatten=True)
