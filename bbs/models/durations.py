"""Durations in Go notation, for configuration files and messages.

All durations are whole nanoseconds in a signed 64-bit number.
"""

from __future__ import annotations

import re

from bbs.models.text import whole_number

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "\u00b5s": MICROSECOND,  # micro sign
    "\u03bcs": MICROSECOND,  # Greek letter mu
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_PART = re.compile(r"([0-9]*)(?:(\.)([0-9]*))?([^0-9.]+)")
_LIMIT = 2**63
_FRACTION_DIGITS = 100
"""Digits of a fraction that are used; the rest is far less than a nanosecond."""


class InvalidDuration(ValueError):
    """Text that is not a duration; the message quotes it."""


def format_duration(ns: int) -> str:
    """Nanoseconds as ``1m30.057s``, ``500ms``, ``0s``: the shortest exact text."""
    if ns == 0:
        return "0s"
    sign, rest = ("-", -ns) if ns < 0 else ("", ns)
    if rest < SECOND:
        for unit, size in (("ms", MILLISECOND), ("\u00b5s", MICROSECOND), ("ns", NANOSECOND)):
            if rest >= size:
                return sign + _decimal(rest, size) + unit
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    text = sign
    if hours:
        text += f"{hours}h"
    if hours or minutes:
        text += f"{minutes}m"
    return text + _decimal(rest, SECOND) + "s"


def format_seconds(seconds: float) -> str:
    """Seconds in the notation of :func:`format_duration`."""
    return format_duration(round(seconds * SECOND))


def parse_duration(text: str) -> int:
    """Nanoseconds of ``1m30s``, ``0.5h``, ``-2ms`` or a bare ``0``; fractions of a nanosecond are truncated.

    Raises:
        InvalidDuration: no number, no unit, unknown unit, or more than 64 bits of nanoseconds.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise InvalidDuration(f"invalid duration {text!r}")
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            # Digits up to the end of the text (no unit), or no digits.
            if re.fullmatch(r"[0-9]+\.?[0-9]*|\.[0-9]+", rest[at:]):
                raise InvalidDuration(f"missing unit in duration {text!r}")
            raise InvalidDuration(f"invalid duration {text!r}")
        whole, _, fraction, unit = part.groups()
        if not whole and not fraction:
            raise InvalidDuration(f"invalid duration {text!r}")
        if unit not in _UNITS:
            raise InvalidDuration(f"unknown unit {unit!r} in duration {text!r}")
        size = _UNITS[unit]
        number = whole_number(whole or "0", _LIMIT)
        if number is None:
            raise InvalidDuration(f"duration {text!r} is out of range")
        total += number * size
        if fraction:
            fraction = fraction[:_FRACTION_DIGITS]
            total += int(fraction) * size // 10 ** len(fraction)
        at = part.end()
    if text.startswith("-"):
        total = -total
    if not -_LIMIT <= total < _LIMIT:
        raise InvalidDuration(f"duration {text!r} is out of range")
    return total


def _decimal(value: int, unit: int) -> str:
    """value / unit, exact, without trailing zeros."""
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = f"{fraction:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}"
