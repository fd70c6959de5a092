"""Validation of ActualLRP requests; their common parts are checked in the same order."""

from __future__ import annotations

from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo
from bbs.models.validation.fields import invalid_field, not_negative, required


def validate_actual_lrp_key(key: ActualLRPKey | None) -> list[str]:
    """Validate process guid, domain and index."""
    if key is None:
        return [invalid_field("actual_lrp_key")]
    return [
        *required(key.process_guid, "process_guid"),
        *not_negative(index=key.index),
        *required(key.domain, "domain"),
    ]


def validate_actual_lrp_instance_key(key: ActualLRPInstanceKey | None) -> list[str]:
    """Validate instance guid and cell id."""
    if key is None:
        return [invalid_field("actual_lrp_instance_key")]
    return required(key.cell_id, "cell_id") + required(key.instance_guid, "instance_guid")


def validate_actual_lrp_net_info(net_info: ActualLRPNetInfo | None) -> list[str]:
    """Validate the network address."""
    if net_info is None:
        return [invalid_field("actual_lrp_net_info")]
    return required(net_info.address, "address")


def validate_instance_request(
    key: ActualLRPKey | None, instance_key: ActualLRPInstanceKey | None
) -> list[str]:
    """Validate crash, remove_evacuating, evacuate_claimed and evacuate_stopped."""
    return validate_actual_lrp_key(key) + validate_actual_lrp_instance_key(instance_key)


def validate_start_request(
    key: ActualLRPKey | None, instance_key: ActualLRPInstanceKey | None, net_info: ActualLRPNetInfo | None
) -> list[str]:
    """Validate start and evacuate_running."""
    return validate_instance_request(key, instance_key) + validate_actual_lrp_net_info(net_info)


def validate_evacuate_crashed_request(
    key: ActualLRPKey | None, instance_key: ActualLRPInstanceKey | None, error_message: str
) -> list[str]:
    """Validate evacuate_crashed; the reason is required (for an ordinary crash it is optional)."""
    return validate_instance_request(key, instance_key) + required(error_message, "error_message")


def validate_fail_request(key: ActualLRPKey | None, error_message: str) -> list[str]:
    """Validate a placement failure; the reason is required."""
    return validate_actual_lrp_key(key) + required(error_message, "error_message")


def validate_claim_request(process_guid: str, instance_key: ActualLRPInstanceKey | None) -> list[str]:
    """Validate a claim, which has process guid and index instead of a key."""
    return required(process_guid, "process_guid") + validate_actual_lrp_instance_key(instance_key)
