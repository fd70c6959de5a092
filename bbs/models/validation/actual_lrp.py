"""Validation of requests about ActualLRPs: the same few parts, in the same order."""

from __future__ import annotations

from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo
from bbs.models.validation.fields import invalid_field, not_negative, required


def validate_actual_lrp_key(key: ActualLRPKey | None) -> list[str]:
    """Which index of which process."""
    if key is None:
        return [invalid_field("actual_lrp_key")]
    return [
        *required(key.process_guid, "process_guid"),
        *not_negative(index=key.index),
        *required(key.domain, "domain"),
    ]


def validate_actual_lrp_instance_key(key: ActualLRPInstanceKey | None) -> list[str]:
    """Which instance on which cell."""
    if key is None:
        return [invalid_field("actual_lrp_instance_key")]
    return required(key.cell_id, "cell_id") + required(key.instance_guid, "instance_guid")


def validate_actual_lrp_net_info(net_info: ActualLRPNetInfo | None) -> list[str]:
    """How to reach an instance."""
    if net_info is None:
        return [invalid_field("actual_lrp_net_info")]
    return required(net_info.address, "address")


def validate_instance_request(
    key: ActualLRPKey | None, instance_key: ActualLRPInstanceKey | None
) -> list[str]:
    """Crash, remove_evacuating, evacuate_claimed and evacuate_stopped."""
    return validate_actual_lrp_key(key) + validate_actual_lrp_instance_key(instance_key)


def validate_start_request(
    key: ActualLRPKey | None, instance_key: ActualLRPInstanceKey | None, net_info: ActualLRPNetInfo | None
) -> list[str]:
    """Start and evacuate_running."""
    return validate_instance_request(key, instance_key) + validate_actual_lrp_net_info(net_info)


def validate_evacuate_crashed_request(
    key: ActualLRPKey | None, instance_key: ActualLRPInstanceKey | None, error_message: str
) -> list[str]:
    """A crash during evacuation must say why (an ordinary crash need not)."""
    return validate_instance_request(key, instance_key) + required(error_message, "error_message")


def validate_fail_request(key: ActualLRPKey | None, error_message: str) -> list[str]:
    """A placement failure must say why."""
    return validate_actual_lrp_key(key) + required(error_message, "error_message")


def validate_claim_request(process_guid: str, instance_key: ActualLRPInstanceKey | None) -> list[str]:
    """Claim names the process by guid and index instead of a key."""
    return required(process_guid, "process_guid") + validate_actual_lrp_instance_key(instance_key)
