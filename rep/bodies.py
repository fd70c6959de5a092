"""JSON bodies of requests and responses, encoded like the Go programs do. No I/O."""

from __future__ import annotations

import json

from bbs.models.auction import Work
from bbs.models.codec import from_json
from bbs.models.invalid import InvalidDocument
from bbs.models.values import no_constant
from common.gojson import HTML_ESCAPES


def read_work(body: bytes) -> Work:
    """The work list in a request body. Raises InvalidDocument."""
    return from_json(Work, first_value(body))


def first_value(body: bytes) -> object:
    """The first JSON value of a body; data after it is ignored, like in the Go decoder.

    A bare ``null`` counts as an empty object. Raises InvalidDocument.
    """
    try:
        text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument("$", "JSON", f"a body that is not ({error})") from error
    return {} if value is None else value


def to_body(value: object) -> bytes:
    """Compact JSON with the escapes and the final newline of Go's encoder."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(HTML_ESCAPES).encode("utf-8", "replace") + b"\n"


_DECODER = json.JSONDecoder(parse_constant=no_constant)
