"""Validation of cell presences, domains and process guids."""

from __future__ import annotations

from collections.abc import Sequence

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


def validate_process_guid_request(process_guid: str) -> list[str]:
    """Validate get and remove of a desired LRP, list and remove of the instances of a process."""
    return required(process_guid, "process_guid")


def validate_process_guids_request(process_guids: Sequence[str]) -> list[str]:
    """Validate the list of instances of several processes."""
    return [] if process_guids else ["process_guids must not be empty"]


def validate_upsert_domain_request(domain: str) -> list[str]:
    """Validate an upsert of a domain."""
    return required(domain, "domain")
