"""Durations, sizes and cut texts as messages show them."""

from __future__ import annotations

_NANOSECOND_UNITS = ((1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_BYTE_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"), (1, "B"))
_ERROR_LIMIT = 1024
_TRUNCATED = b" (error truncated)"


def format_duration(seconds: float) -> str:
    """A non-negative duration in Go's notation, to the nanosecond: ``500ms``, ``1m0s``, ``1m30.057s``."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        size, unit = next(entry for entry in _NANOSECOND_UNITS if nanoseconds >= entry[0])
        return _decimal(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = _decimal(rest, 1_000_000_000) + "s"
    if minutes == 0:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    if fraction == 0:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0")


def format_bytes(size: int) -> str:
    """A size in binary units with at most one decimal: ``512B``, ``1.5K``, ``2G``."""
    if size < 1:
        return "0B"
    unit, suffix = next(entry for entry in _BYTE_UNITS if size >= entry[0])
    return f"{size / unit:.1f}".removesuffix(".0") + suffix


def truncate_error(message: str) -> bytes:
    """A message for stderr, cut to 1024 bytes including the mark that says so."""
    encoded = message.encode()
    if len(encoded) <= _ERROR_LIMIT:
        return encoded
    return encoded[: _ERROR_LIMIT - len(_TRUNCATED)] + _TRUNCATED
