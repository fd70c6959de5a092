"""Codec of the executor's values that survive a restart, such as a Container with its RunInfo.

The form is JSON, by the rules of :mod:`bbs.models.codec`. A later version of the cell reads it, too: unknown
keys are ignored, and an absent key means the default of its field. Lists are read as tuples.
"""

from __future__ import annotations

import json
from typing import TypeVar

from bbs.models.codec import from_json, to_json
from bbs.models.invalid import InvalidDocument

T = TypeVar("T")


def encode(value: object) -> bytes:
    """The stored form of a value."""
    return json.dumps(to_json(value), separators=(",", ":")).encode()


def decode(cls: type[T], data: bytes) -> T:
    """The value of a stored form. Raises InvalidDocument, which names the path and the expected value.

    Options of a volume driver may contain numbers that are not JSON (NaN), so this reads all that
    :func:`encode` writes.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument("$", "JSON", f"text that is not ({error})") from None
    return from_json(cls, document)
