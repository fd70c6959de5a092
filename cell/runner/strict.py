"""Strict reading of workload documents: keys that the protocols ignore, and that people mistype.

BBS and rep ignore unknown keys, as their clients need. A document that a person writes for ``cell run`` or
``cell check`` has none: an unknown key is a misspelled one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from bbs.models.actions import ACTION_TYPES, TimeoutAction
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.documents import is_desired_lrp, is_task
from bbs.models.shape import Leaf, ListOf, MapOf, ObjectOf, OneAction, Shape, members
from bbs.models.task import Task, TaskDefinition
from bbs.models.workload import SecurityGroupRule
from common.gotext import InvalidDuration, parse_duration

ACTIONS: Final = ListOf(OneAction())
_WORKLOAD: Final[Mapping[str, Shape]] = {
    "root_fs": Leaf(),
    "stack": Leaf(),
    "actions": ACTIONS,
    "security_group_rules": ListOf(ObjectOf(SecurityGroupRule)),
}
OLDER_KEYS: Final[Mapping[type, Mapping[str, Shape]]] = {
    DesiredLRP: {**_WORKLOAD, "start_timeout": Leaf()},
    TaskDefinition: _WORKLOAD,
    Task: {**_WORKLOAD, "task_definition": ObjectOf(TaskDefinition), "host": Leaf(), "executor_id": Leaf()},
    SecurityGroupRule: {"destination": Leaf()},
}
"""Keys of 2014 and 2015, which :mod:`bbs.models.receptor` converts."""

MILLISECONDS: Final = frozenset({"timeout_ms", "start_timeout_ms"})
SECONDS: Final = frozenset({"start_timeout"})
NANOSECONDS: Final = frozenset({"timeout"})
"""Keys of durations, by unit."""

_NS_PER_MS: Final = 1_000_000
_UNITS: Final = ((MILLISECONDS, _NS_PER_MS), (SECONDS, 10**9), (NANOSECONDS, 1))
_LONGEST_LIST: Final = 12
"""Known keys that a message names if none is close."""

Finding = tuple[str, str]
"""Path and message of a problem."""

ACTION: Final = "action"


def findings(value: object) -> Iterator[Finding]:
    """The problems of a parsed document; those that the codec refuses anyway are not among them."""
    if not isinstance(value, dict):
        return
    keys = {key.lower() for key in value}
    if is_desired_lrp(keys):
        yield from _object(value, DesiredLRP, "$")
    elif is_task(keys):
        yield from _object(value, Task, "$")
    else:
        yield from _action(value, "$")


def is_unknown_action(finding: Finding, path: str) -> bool:
    """Whether the finding is about the object at the path: it has a key that is no action."""
    place, text = finding
    return place.rpartition(".")[0] == path and text.startswith(f"unknown {ACTION}")


def _below(value: object, shape: Shape, path: str) -> Iterator[Finding]:
    match shape, value:
        case OneAction(), dict():
            yield from _action(value, path)
        case ObjectOf(cls), dict():
            yield from _object(value, cls, path)
        case ListOf(item), list():
            for index, each in enumerate(value):
                yield from _below(each, item, f"{path}[{index}]")
        case MapOf(of), dict():
            for key, each in value.items():
                yield from _below(each, of, f"{path}.{key}")


def _object(value: dict[str, object], cls: type, path: str) -> Iterator[Finding]:
    known = {**members(cls), **OLDER_KEYS.get(cls, {})}
    for key, each in value.items():
        place = f"{path}.{key}"
        shape = known.get(key.lower())
        if shape is None:
            yield place, unknown(key, known)
            continue
        yield from _duration(key.lower(), each, place, in_action=cls is TimeoutAction)
        yield from _below(each, shape, place)


def _action(value: dict[str, object], path: str) -> Iterator[Finding]:
    kinds = [key for key, each in value.items() if key.lower() in ACTION_TYPES and each is not None]
    if len(kinds) > 1:
        yield (
            path,
            f"{len(kinds)} actions in one object ({', '.join(kinds)}), of which one would run: "
            "make them the actions of a serial or parallel action",
        )
    for key, each in value.items():
        place = f"{path}.{key}"
        cls = ACTION_TYPES.get(key.lower())
        if cls is None:
            yield place, unknown(key, ACTION_TYPES, ACTION)
        elif isinstance(each, dict):
            yield from _object(each, cls, place)


def _duration(key: str, value: object, path: str, *, in_action: bool) -> Iterator[Finding]:
    """A duration as text, or a count of ns that a person meant as seconds."""
    unit_ns = next((unit for keys, unit in _UNITS if key in keys), None)
    if unit_ns is None:
        return
    if isinstance(value, str):
        try:
            ns = parse_duration(value)
        except InvalidDuration:
            return
        yield path, f"a duration is a number here: write {ns // unit_ns} for {json.dumps(value)}"
    elif in_action and key in NANOSECONDS and type(value) is int and 0 < value < _NS_PER_MS:
        yield (
            path,
            f"{value} is {value} ns; did you mean {value * 10**9}"
            f' ({value} s), or "timeout_ms": {value * 1000}?',
        )


def unknown(key: str, known: Iterable[str], what: str = "key") -> str:
    """The message about an unknown key, with the nearest known one."""
    names = list(known)
    close = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.6)
    if not close:  # such as "arguments" for "args"
        close = [name for name in names if len(name) > 2 and key.lower().startswith(name[:3])][:1]
    if close:
        return f'unknown {what} "{key}"; did you mean "{close[0]}"?'
    listed = ", ".join(names) if len(names) <= _LONGEST_LIST else ""
    return f'unknown {what} "{key}"' + (f"; there are: {listed}" if listed else "")
