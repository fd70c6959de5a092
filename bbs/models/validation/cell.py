"""Validation of cell presences."""

from __future__ import annotations

from bbs.models.cell import CellPresence
from bbs.models.validation.fields import invalid_field, not_negative, required


def validate_cell_presence(presence: CellPresence) -> list[str]:
    """Errors of a presence; the capacity is optional."""
    errors = required(presence.cell_id, "cell_id") + required(presence.rep_address, "rep_address")
    if presence.rep_url and not presence.rep_url.startswith(("http://", "https://")):
        errors.append(invalid_field("rep_url"))
    if presence.capacity is not None:
        errors += required(presence.capacity.memory_mb > 0, "memory_mb")
        errors += required(presence.capacity.containers > 0, "containers")
        errors += not_negative(disk_mb=presence.capacity.disk_mb)
    if not all(key and value for key, value in presence.annotations.items()):
        errors.append(invalid_field("annotations"))
    return errors
