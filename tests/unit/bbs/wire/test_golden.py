"""Every recorded protobuf body is read, mapped and written unchanged."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.message import Message

from bbs.models.actions import RunAction
from bbs.models.errors import BBSError, ErrorType
from bbs.wire.mapping import decode, encode, to_model, to_wire
from bbs.wire.messages import message_class
from bbs.wire.proto import desired_lrp_pb2, desired_lrp_requests_pb2
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire"

BROKEN = ("http/malformed-body", "TaskByGuidRequest")
"""The one body that is no message, on purpose."""

TWO_ACTIONS = "invalid-lrp/two-actions"
"""The record with an action that means one of two: the models keep only that one."""


@dataclass(frozen=True)
class Body:
    record: str
    message: str
    data: bytes


def bodies(value: Any, record: str = "") -> Iterator[Body]:
    if isinstance(value, list):
        for item in value:
            yield from bodies(item, record)
    elif isinstance(value, dict):
        record = value.get("name", record)
        encoded = value.get("body_base64", value.get("data_base64"))
        if "message" in value and encoded is not None:
            yield Body(record, value["message"], base64.b64decode(encoded))
        for item in value.values():
            yield from bodies(item, record)


CAPTURES = {
    str(path.relative_to(GOLDEN)): found
    for path in sorted(GOLDEN.rglob("*.json"))
    if path.parent.name != "app-logs"  # envelopes: another protocol
    if (found := list(bodies(json.loads(path.read_text()))))
}
each_capture = pytest.mark.parametrize("capture", CAPTURES.values(), ids=CAPTURES)


def modelled(message: Message) -> Iterator[Message]:
    """The outermost messages in it that have a model."""
    try:
        to_model(message)
    except TypeError:
        for descriptor, value in message.ListFields():
            if descriptor.message_type is not None and not descriptor.message_type.GetOptions().map_entry:
                for item in value if descriptor.is_repeated else [value]:
                    yield from modelled(item)
    else:
        yield message


@each_capture
def test_decodes_without_unknown_fields_and_encodes_to_the_same(capture: list[Body]) -> None:
    for body in capture:
        if (body.record, body.message) == BROKEN:
            continue
        cls = message_class(body.message)
        message = decode(cls, body.data)
        known = decode(cls, body.data)
        known.DiscardUnknownFields()
        again = encode(known)
        assert len(again) == len(body.data), body
        assert decode(cls, again) == message, body


@each_capture
def test_is_the_same_after_a_trip_through_the_models(capture: list[Body]) -> None:
    for body in capture:
        if (body.record, body.message) == BROKEN or body.record == TWO_ACTIONS:
            continue
        for message in modelled(decode(message_class(body.message), body.data)):
            again = to_wire(to_model(message), type(message))
            if isinstance(message, desired_lrp_pb2.DesiredLRP):
                message.routes.SetInParent()  # a client may leave them out, we never do
            assert again == message, body


def test_a_body_that_is_no_message_is_refused() -> None:
    (body,) = [body for body in CAPTURES["bbs-replies/http.json"] if (body.record, body.message) == BROKEN]
    with pytest.raises(BBSError) as raised:
        decode(message_class(body.message), body.data)
    assert raised.value == BBSError(ErrorType.InvalidRequest)


def test_of_two_actions_in_one_wrapper_the_first_counts() -> None:
    (body,) = [
        body
        for body in CAPTURES["bbs-replies/invalid-lrp.json"]
        if (body.record, body.message) == (TWO_ACTIONS, "DesireLRPRequest")
    ]
    wrapper = decode(desired_lrp_requests_pb2.DesireLRPRequest, body.data).desired_lrp.action
    set_members = [descriptor.name for descriptor, _ in wrapper.ListFields()]
    action = to_model(wrapper)
    assert set_members == ["run_action", "try_action"]
    assert isinstance(action, RunAction)
