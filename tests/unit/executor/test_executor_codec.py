"""The stored form of containers: every value comes back as it was, and other versions' forms are readable."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.models.actions import ACTION_TYPES, DownloadAction, EmptyAction, RunAction, UploadAction
from bbs.models.invalid import InvalidDocument
from bbs.models.meta import Width
from executor.codec import decode, encode
from executor.model import (
    AllocationRequest,
    Container,
    ContainerState,
    LogConfig,
    PortMapping,
    RunInfo,
    RunRequest,
    RunResult,
    UpdateRequest,
    VolumeMount,
)

pytestmark = pytest.mark.unit

TEXTS = st.text(max_size=4)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
OPTIONS = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=4
)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation; of a dataclass all fields, so that a new one is covered at once."""
    low, high = -(2**63), 2**63 - 1
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        for note in notes:
            if isinstance(note, Width):
                low, high = note.low, note.high
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if EmptyAction in arguments:
            return ACTIONS | st.none() if types.NoneType in arguments else ACTIONS
        return st.one_of(*(values_of(argument) for argument in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(values_of(argument) for argument in arguments))
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(TEXTS, values_of(arguments[1]), max_size=2)
    if is_dataclass(hint) and isinstance(hint, type):
        return objects_of(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXTS,
        bool: st.booleans(),
        int: st.integers(low, high),
        object: OPTIONS,
        types.NoneType: st.none(),
    }
    return plain[hint]


@cache
def objects_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls, include_extras=True)
    return st.builds(cls, **{field.name: values_of(hints[field.name]) for field in fields(cls)})


def nodes_of(cls: type[Any], inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls, include_extras=True)
    parts = {field.name: values_of(hints[field.name]) for field in fields(cls)}
    if "action" in parts:
        parts["action"] = inner | st.none()
    else:
        parts["actions"] = st.lists(inner, max_size=2).map(tuple)
    return st.builds(cls, **parts)


LEAVES = [DownloadAction, UploadAction, RunAction, EmptyAction]
ACTIONS: st.SearchStrategy[Any] = st.deferred(lambda: TREES)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(*(objects_of(cls) for cls in LEAVES)),
    lambda inner: st.one_of(
        *(nodes_of(cls, inner) for cls in ACTION_TYPES.values() if cls not in LEAVES),
    ),
    max_leaves=4,
)


@given(objects_of(Container))
def test_any_container_survives(container: Container) -> None:
    assert decode(Container, encode(container)) == container


@given(st.one_of(*(objects_of(cls) for cls in (RunInfo, RunRequest, AllocationRequest, UpdateRequest))))
def test_any_request_survives(value: object) -> None:
    assert decode(type(value), encode(value)) == value


def test_numbers_that_are_not_json_survive_in_the_options_of_a_volume() -> None:
    mount = VolumeMount(
        driver="d",
        volume_id="v",
        container_dir="/v",
        read_only=True,
        config={"a": float("inf"), "b": "\ud800"},
    )
    assert decode(VolumeMount, encode(mount)) == mount


def test_a_later_version_adds_keys_and_an_earlier_one_lacks_some() -> None:
    stored = {
        "guid": "ig",
        "state": "running",
        "colour": "unknown to this version",
        "run_info": {"env": [["A", "1"]], "future": {}, "log_config": {"guid": "lg"}},
        "ports": [{"container_port": 8080}],
    }
    assert decode(Container, json.dumps(stored).encode()) == Container(
        guid="ig",
        state=ContainerState.RUNNING,
        run_info=RunInfo(env=(("A", "1"),), log_config=LogConfig(guid="lg")),
        ports=(PortMapping(container_port=8080),),
        run_result=RunResult(),
    )


@pytest.mark.parametrize(
    ("stored", "place"),
    [
        (b"{", "$"),
        (b"[" * 100_000, "$"),
        (b"{}", "$"),
        (b'{"guid": "ig", "state": "asleep"}', "$.state"),
        (b'{"guid": "ig", "memory_mb": "much"}', "$.memory_mb"),
        (b'{"guid": "ig", "run_info": {"env": [["A"]]}}', "$.run_info.env[0]"),
        (b'{"guid": "ig", "run_info": {"action": {"run": {"path": 7}}}}', "$.run_info.action.run.path"),
    ],
)
def test_a_damaged_form_is_refused_with_its_place(stored: bytes, place: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        decode(Container, stored)
    assert caught.value.path == place
