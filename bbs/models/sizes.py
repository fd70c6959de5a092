"""Byte sizes as text: binary units, at most one decimal."""

from __future__ import annotations

_UNITS = (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))


def format_size(size: int) -> str:
    """Bytes as ``512B``, ``1K``, ``1.5K``, ``12.3M``, in the largest unit that gives at least 1."""
    for unit, bytes_per_unit in _UNITS:
        if size >= bytes_per_unit:
            return f"{size / bytes_per_unit:.1f}".removesuffix(".0") + unit
    return f"{size}B"
