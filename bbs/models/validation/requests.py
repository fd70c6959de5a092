"""Validation of requests that carry little more than a name."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.models.validation.fields import required


def validate_process_guid_request(process_guid: str) -> list[str]:
    """Get or remove a desired LRP, list or remove instances of a process."""
    return required(process_guid, "process_guid")


def validate_process_guids_request(process_guids: Sequence[str]) -> list[str]:
    """List the instances of several processes."""
    return [] if process_guids else ["process_guids must not be empty"]


def validate_upsert_domain_request(domain: str) -> list[str]:
    """Keep a domain fresh."""
    return required(domain, "domain")
