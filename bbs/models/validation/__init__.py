"""Validation of BBS requests, with the error texts of the Go server.

Each ``validate_...`` returns the texts of all failures, in the server's order; an empty list means valid.
:func:`check` converts them to the error of a BBS. The store is not consulted: existing guids and texts too
long for a column are detected when the record is stored.
"""

from bbs.models.validation.actions import validate_action
from bbs.models.validation.actual_lrp import (
    validate_actual_lrp_instance_key,
    validate_actual_lrp_key,
    validate_actual_lrp_net_info,
    validate_claim_request,
    validate_evacuate_crashed_request,
    validate_fail_request,
    validate_instance_request,
    validate_start_request,
)
from bbs.models.validation.cluster import (
    validate_cell_presence,
    validate_process_guid_request,
    validate_process_guids_request,
    validate_upsert_domain_request,
)
from bbs.models.validation.desired_lrp import (
    validate_desired_lrp,
    validate_desired_lrp_update,
    validate_update_request,
)
from bbs.models.validation.egress import validate_security_group_rule
from bbs.models.validation.fields import check
from bbs.models.validation.task import (
    validate_desire_task_request,
    validate_task_definition,
    validate_task_failure_request,
    validate_task_guid_request,
    validate_task_on_cell_request,
)

__all__ = [
    "check",
    "validate_action",
    "validate_actual_lrp_instance_key",
    "validate_actual_lrp_key",
    "validate_actual_lrp_net_info",
    "validate_cell_presence",
    "validate_claim_request",
    "validate_desire_task_request",
    "validate_desired_lrp",
    "validate_desired_lrp_update",
    "validate_evacuate_crashed_request",
    "validate_fail_request",
    "validate_instance_request",
    "validate_process_guid_request",
    "validate_process_guids_request",
    "validate_security_group_rule",
    "validate_start_request",
    "validate_task_definition",
    "validate_task_failure_request",
    "validate_task_guid_request",
    "validate_task_on_cell_request",
    "validate_update_request",
    "validate_upsert_domain_request",
]
