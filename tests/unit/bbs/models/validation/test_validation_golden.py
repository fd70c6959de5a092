"""Recorded refusals of a Go server: the same requests are refused with the same texts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from bbs.models import validation as v
from bbs.models.errors import BBSError, ErrorType
from bbs.wire.mapping import to_model
from bbs.wire.messages import message_class
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

REPLIES = GOLDEN_FILES / "wire" / "bbs-replies"

ONLY_OLD_SERVERS_REFUSE = {"invalid-lrp/egress-icmpv6"}
"""Accepted since the protocol exists."""

ONLY_A_STORE_REFUSES = {
    "invalid-lrp/guid-too-long",
    "invalid-lrp/log-guid-too-long",
    "invalid-lrp/rootfs-too-long",
    "invalid-update/no-update",
}
"""Longer than a column, or naming nothing: valid as such."""


def part(message: Any, name: str) -> Any:
    return to_model(getattr(message, name)) if message.HasField(name) else None


def key(message: Any) -> Any:
    return part(message, "actual_lrp_key")


def instance_key(message: Any) -> Any:
    return part(message, "actual_lrp_instance_key")


def net_info(message: Any) -> Any:
    return part(message, "actual_lrp_net_info")


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def instance_request(message: Any) -> list[str]:
    return v.validate_instance_request(key(message), instance_key(message))


def start_request(message: Any) -> list[str]:
    return v.validate_start_request(key(message), instance_key(message), net_info(message))


def process_guid_request(message: Any) -> list[str]:
    return v.validate_process_guid_request(message.process_guid)


def task_on_cell(message: Any) -> list[str]:
    return v.validate_task_on_cell_request(message.task_guid, message.cell_id)


def task_guid(message: Any) -> list[str]:
    return v.validate_task_guid_request(message.task_guid)


VALIDATORS: dict[str, Callable[[Any], list[str]]] = {
    "DesireLRPRequest": lambda m: v.validate_desired_lrp(part(m, "desired_lrp")),
    "UpdateDesiredLRPRequest": lambda m: v.validate_update_request(m.process_guid, part(m, "update")),
    "DesiredLRPByProcessGuidRequest": process_guid_request,
    "RemoveDesiredLRPRequest": process_guid_request,
    "ActualLRPGroupsByProcessGuidRequest": process_guid_request,
    "RemoveActualLRPRequest": process_guid_request,
    "UpsertDomainRequest": lambda m: v.validate_upsert_domain_request(m.domain),
    "DesireTaskRequest": lambda m: v.validate_desire_task_request(
        m.task_guid, m.domain, part(m, "task_definition")
    ),
    "StartTaskRequest": task_on_cell,
    "CompleteTaskRequest": task_on_cell,
    "FailTaskRequest": lambda m: v.validate_task_failure_request(m.task_guid, text(m.failure_reason)),
    "RejectTaskRequest": lambda m: v.validate_task_failure_request(m.task_guid, text(m.rejection_reason)),
    "TaskGuidRequest": task_guid,
    "TaskByGuidRequest": task_guid,
    "ClaimActualLRPRequest": lambda m: v.validate_claim_request(m.process_guid, instance_key(m)),
    "StartActualLRPRequest": start_request,
    "EvacuateRunningActualLRPRequest": start_request,
    "CrashActualLRPRequest": instance_request,
    "RemoveEvacuatingActualLRPRequest": instance_request,
    "EvacuateClaimedActualLRPRequest": instance_request,
    "EvacuateStoppedActualLRPRequest": instance_request,
    "EvacuateCrashedActualLRPRequest": lambda m: v.validate_evacuate_crashed_request(
        key(m), instance_key(m), text(m.error_message)
    ),
    "FailActualLRPRequest": lambda m: v.validate_fail_request(key(m), text(m.error_message)),
    "RetireActualLRPRequest": lambda m: v.validate_actual_lrp_key(key(m)),
}


def body(half: dict[str, Any]) -> Message:
    return message_class(half["message"]).FromString(base64.b64decode(half["body_base64"]))


RECORDS = [
    pytest.param(record, id=record["name"])
    for name in ("invalid-lrp", "invalid-update", "invalid-task", "invalid")
    for record in json.loads((REPLIES / f"{name}.json").read_text())["records"]
]


@pytest.mark.parametrize("record", RECORDS)
def test_same_texts_in_the_same_order(record: dict[str, Any]) -> None:
    answer: Any = body(record["response"])
    expected = text(answer.error.message)
    if record["name"] in ONLY_A_STORE_REFUSES | ONLY_OLD_SERVERS_REFUSE:
        expected = ""

    errors = VALIDATORS[record["request"]["message"]](body(record["request"]))

    assert ", ".join(errors) == expected


def test_failures_become_one_invalid_request() -> None:
    with pytest.raises(BBSError) as caught:
        v.check(["Invalid field: a", "b"])
    assert caught.value == BBSError(ErrorType.InvalidRequest, "Invalid field: a, b")
    v.check([])
