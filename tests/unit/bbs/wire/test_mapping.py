"""Mapping between models and messages, beyond the recordings."""

from __future__ import annotations

import dataclasses
from enum import IntEnum
from typing import get_type_hints

import pytest

from bbs.models import actions, actual_lrp, cell, common, desired_lrp, events, task, workload
from bbs.models.actions import DownloadAction, EmptyAction, ResourceLimits, RunAction, TryAction
from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.cell import CellPresence
from bbs.models.common import EnvironmentVariable
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.errors import BBSError, ErrorType
from bbs.wire.mapping import decode, encode, error_to_model, to_model, to_wire
from bbs.wire.messages import fields, message_class
from bbs.wire.proto import actions_pb2, actual_lrp_pb2, common_pb2, desired_lrp_pb2, error_pb2

pytestmark = pytest.mark.unit

MODELS = [
    value
    for module in (actions, actual_lrp, cell, common, desired_lrp, events, task, workload)
    for value in vars(module).values()
    if isinstance(value, type)
    and dataclasses.is_dataclass(value)
    and value.__module__ == module.__name__
    and value not in (EmptyAction, actual_lrp.RunningData)  # no messages of their own
]


def folded(name: str) -> str:
    return name.replace("_", "").lower()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_default_model_survives_the_wire(model: type) -> None:
    value = model()
    again: object = to_model(to_wire(value), model)
    if model in (desired_lrp.DesiredLRP, desired_lrp.DesiredLRPSchedulingInfo):
        value = dataclasses.replace(value, routes={})  # always on the wire
    assert again == value


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_model_and_message_have_the_same_fields(model: type) -> None:
    on_wire = [folded(field.name) for field in fields(message_class(model.__name__))]
    assert sorted(on_wire) == sorted(folded(field.name) for field in dataclasses.fields(model))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_enums_have_the_numbers_of_the_wire(model: type) -> None:
    hints = get_type_hints(model)
    descriptor = message_class(model.__name__).DESCRIPTOR
    for name, hint in hints.items():
        if isinstance(hint, type) and issubclass(hint, IntEnum):
            (field,) = [field for field in descriptor.fields if folded(field.name) == folded(name)]
            assert field.enum_type is not None
            assert {value.name: value.number for value in field.enum_type.values} == {
                member.name: member.value for member in hint
            }


def test_reserved_word_as_field_name() -> None:
    message = to_wire(DownloadAction(from_="http://files/x"), actions_pb2.DownloadAction)
    assert getattr(message, "from") == "http://files/x"
    assert to_model(message, DownloadAction).from_ == "http://files/x"


def test_text_with_bad_bytes_is_read_with_replacement() -> None:
    message = decode(common_pb2.EnvironmentVariable, b"\x0a\x01N\x12\x03a\xffb")
    assert to_model(message) == EnvironmentVariable(name="N", value="a\N{REPLACEMENT CHARACTER}b")


def test_unknown_enum_number_reads_as_zero() -> None:
    assert to_model(decode(actual_lrp_pb2.ActualLRP, b"\x50\x63"), ActualLRP).presence is Presence.ORDINARY
    assert error_to_model(decode(error_pb2.Error, b"\x08\x63\x12\x01m")) == BBSError(
        ErrorType.UnknownError, "m"
    )


def test_unknown_fields_are_left_alone() -> None:
    message = decode(common_pb2.LogRateLimit, b"\x08\x07\xfa\x3e\x03new")
    assert to_model(message) == common.LogRateLimit(bytes_per_second=7)


@pytest.mark.parametrize(
    "limits", [ResourceLimits(), ResourceLimits(nofile=0), ResourceLimits(nofile=5, nproc=0)]
)
def test_unset_and_zero_are_told_apart(limits: ResourceLimits) -> None:
    assert to_model(to_wire(limits)) == limits


@pytest.mark.parametrize("routes", [None, {}, {"r": b"[]"}])
def test_update_without_routes_differs_from_one_with_none(routes: dict[str, bytes] | None) -> None:
    message = to_wire(DesiredLRPUpdate(routes=routes), desired_lrp_pb2.DesiredLRPUpdate)
    assert message.HasField("routes") is (routes is not None)
    assert to_model(message, DesiredLRPUpdate).routes == routes


def test_routes_of_a_desired_lrp_are_always_written() -> None:
    assert to_wire(DesiredLRP(), desired_lrp_pb2.DesiredLRP).HasField("routes")


def test_packed_ports_are_read() -> None:
    assert to_model(decode(desired_lrp_pb2.DesiredLRP, b"\x72\x03\x90\x3f\x50")) == DesiredLRP(
        ports=(8080, 80)
    )


def test_action_alone_and_in_its_wrapper() -> None:
    action = TryAction(action=RunAction(path="x"))
    assert isinstance(to_wire(action), actions_pb2.TryAction)
    wrapper = to_wire(action, actions_pb2.Action)
    assert wrapper.HasField("try_action")
    assert to_model(wrapper) == action
    assert to_model(wrapper.try_action) == action


def test_wrapper_with_nothing_in_it() -> None:
    assert to_model(actions_pb2.Action()) == EmptyAction()
    message = to_wire(TryAction(action=EmptyAction()), actions_pb2.TryAction)
    assert encode(message) == b"\x0a\x00"
    assert to_model(message) == TryAction(action=EmptyAction())
    assert to_model(to_wire(TryAction())) == TryAction(action=None)


def test_bytes_are_the_same_whatever_the_order_of_a_map() -> None:
    tags = {str(number): "v" for number in range(20)}
    backwards = dict(reversed(tags.items()))
    assert encode(to_wire(ActualLRP(metric_tags=tags))) == encode(to_wire(ActualLRP(metric_tags=backwards)))


def test_wrong_classes_are_named() -> None:
    with pytest.raises(TypeError, match="int has no message"):
        to_wire(3)
    with pytest.raises(TypeError, match="ActualLRP is not written as DesiredLRP"):
        to_wire(ActualLRP(), desired_lrp_pb2.DesiredLRP)
    with pytest.raises(TypeError, match="message Error has no model"):
        to_model(error_pb2.Error())
    with pytest.raises(TypeError, match="ActualLRP is not read as CellPresence"):
        to_model(actual_lrp_pb2.ActualLRP(), CellPresence)
