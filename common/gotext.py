"""Numbers, durations, sizes and quoted text in the format of the programs' flags and messages.

Imports nothing: ``healthcheck`` starts often, and its imports count against the app.
"""

from __future__ import annotations

NANOSECOND = 1
MICROSECOND = 1000 * NANOSECOND
MILLISECOND = 1000 * MICROSECOND
SECOND = 1000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "\u00b5s": MICROSECOND,
    "\u03bcs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_MAX_INT64 = (1 << 63) - 1
_MAX_DIGITS = 19
_FRACTION_DIGITS = 100
"""Digits of a fraction that are used; the rest is far less than a nanosecond."""
_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_DIGITS = "0123456789"
_SIZES = (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))


def quote(text: str) -> str:
    """``text`` in double quotes, with escapes for unprintable characters."""
    return '"' + "".join(map(_quoted_character, text)) + '"'


def _quoted_character(character: str) -> str:
    number = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    if character.isprintable() and (character == " " or not character.isspace()):
        return character
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class InvalidDuration(ValueError):
    """Text that is not a duration; the message quotes it."""


def parse_duration(text: str) -> int:
    """Nanoseconds of ``1m30s``, ``0.5h``, ``-2ms`` or a bare ``0``; fractions of a nanosecond are truncated.

    Raises InvalidDuration: no number, no unit, unknown unit, or more than 64 bits of nanoseconds.
    """
    sign = -1 if text[:1] == "-" else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise InvalidDuration(f"invalid duration {text!r}")
    total = 0
    while rest:
        whole, rest = _take(rest, _DIGITS)
        fraction = ""
        if rest[:1] == ".":
            fraction, rest = _take(rest[1:], _DIGITS)
        if not whole and not fraction:
            raise InvalidDuration(f"invalid duration {text!r}")
        end = 0
        while end < len(rest) and rest[end] not in _DIGITS and rest[end] != ".":
            end += 1
        unit, rest = rest[:end], rest[end:]
        if not unit:
            raise InvalidDuration(f"missing unit in duration {text!r}")
        if unit not in _UNITS:
            raise InvalidDuration(f"unknown unit {unit!r} in duration {text!r}")
        whole = whole.lstrip("0")
        if len(whole) <= _MAX_DIGITS:
            total += int(whole or "0") * _UNITS[unit]
        if fraction:
            fraction = fraction[:_FRACTION_DIGITS]
            total += int(fraction) * _UNITS[unit] // 10 ** len(fraction)
        if len(whole) > _MAX_DIGITS or total > _MAX_INT64 + (sign < 0):
            raise InvalidDuration(f"duration {text!r} is out of range")
    return sign * total


def _take(text: str, characters: str) -> tuple[str, str]:
    """The longest prefix of ``text`` that consists of ``characters``, and the rest."""
    end = 0
    while end < len(text) and text[end] in characters:
        end += 1
    return text[:end], text[end:]


def format_duration(nanoseconds: int) -> str:
    """``500ms``, ``1.5s``, ``1m0s``: the largest sub-unit below a second, else hours, minutes, seconds."""
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    value = abs(nanoseconds)
    if value < SECOND:
        for unit, name in ((MILLISECOND, "ms"), (MICROSECOND, "\u00b5s"), (NANOSECOND, "ns")):
            if value >= unit:
                return f"{sign}{_decimal(value, unit)}{name}"
    minutes, rest = divmod(value, MINUTE)
    seconds = f"{_decimal(rest, SECOND)}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def format_seconds(seconds: float) -> str:
    """Seconds in the notation of :func:`format_duration`."""
    return format_duration(round(seconds * SECOND))


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    width = len(str(unit)) - 1
    return f"{whole}.{rest:0{width}d}".rstrip("0")


def parse_integer(text: str) -> int:
    """An integer in flag syntax: sign, ``0x``, ``0o``, ``0b``, leading zero for octal, ``_`` between digits.

    Raises ValueError for invalid text, OverflowError beyond 64 bits.
    """
    sign = -1 if text[:1] == "-" else 1
    digits = text[1:] if text[:1] in ("-", "+") else text
    base = 10
    if digits[:1] == "0" and len(digits) > 1:
        prefix = digits[1].lower()
        base, cut = {"x": (16, 2), "o": (8, 2), "b": (2, 2)}.get(prefix, (8, 1))
        digits = digits[cut:]
        if digits[:1] == "_":
            digits = digits[1:]
    plain = digits.isascii() and digits.replace("_", "").isalnum()
    if not plain or digits.startswith("_"):
        raise ValueError(f"no integer: {text!r}")
    value = sign * int(digits, base)
    if not -_MAX_INT64 - 1 <= value <= _MAX_INT64:
        raise OverflowError(text)
    return value


def decimal_integer(text: str) -> int | None:
    """The value of decimal digits with an optional sign, within 64 bits; None for any other text."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits or not digits.isascii() or not digits.isdigit():
        return None
    value = -int(digits) if text[0] == "-" else int(digits)
    return value if -_MAX_INT64 - 1 <= value <= _MAX_INT64 else None


def format_size(size: int) -> str:
    """Bytes as ``512B``, ``1K``, ``1.5K``, ``12.3M``, in the largest binary unit that gives at least 1."""
    for unit, bytes_per_unit in _SIZES:
        if size >= bytes_per_unit:
            return f"{size / bytes_per_unit:.1f}".removesuffix(".0") + unit
    return f"{size}B"
