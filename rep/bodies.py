"""Bodies of requests and answers as JSON, with the habits of the Go programs. No I/O."""

from __future__ import annotations

import json

from bbs.models.auction import Work
from bbs.models.codec import from_json
from bbs.models.invalid import InvalidDocument


def read_work(body: bytes) -> Work:
    """A work list as sent. Raises InvalidDocument."""
    return from_json(Work, first_value(body))


def first_value(body: bytes) -> object:
    """The first JSON value of a body; peers' decoders do not look at what follows either.

    A bare ``null`` is an object nothing was said in. Raises InvalidDocument.
    """
    try:
        text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument("$", "JSON", f"a body that is not ({error})") from error
    return {} if value is None else value


def to_body(value: object) -> bytes:
    """Compact JSON with the escapes and the final newline of the Go programs."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES).encode("utf-8", "replace") + b"\n"


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
