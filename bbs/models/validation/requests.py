"""Validation of small requests."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.models.validation.fields import required


def validate_process_guid_request(process_guid: str) -> list[str]:
    """Validate get and remove of a desired LRP, list and remove of the instances of a process."""
    return required(process_guid, "process_guid")


def validate_process_guids_request(process_guids: Sequence[str]) -> list[str]:
    """Validate the list of instances of several processes."""
    return [] if process_guids else ["process_guids must not be empty"]


def validate_upsert_domain_request(domain: str) -> list[str]:
    """Validate an upsert of a domain."""
    return required(domain, "domain")
