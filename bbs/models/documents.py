"""Reader of documents from the command line.

A document is a bare action, a Task or a DesiredLRP, in the current form of cfdot or in the Receptor form of
2015. The kind is recognised by its keys.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from bbs.models.actions import ACTION_TYPES, Action
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.invalid import InvalidDocument, describe, mismatch
from bbs.models.receptor import read_action, read_desired_lrp, read_task_definition
from bbs.models.task import TaskDefinition
from bbs.models.text import well_formed

__all__ = [
    "TaskDocument",
    "is_desired_lrp",
    "is_task",
    "read_desired_lrp",
    "read_document",
    "read_task",
]

_OF_TASKS = frozenset({"task_guid", "task_definition", "result_file", "completion_callback_url"})
_OF_LRPS = frozenset(
    {
        "process_guid",
        "instances",
        "setup",
        "monitor",
        "ports",
        "routes",
        "start_timeout",
        "start_timeout_ms",
        "check_definition",
        "sidecars",
    }
)
_OF_BOTH = frozenset({"action", "actions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDocument:
    """A task to run. If guid or domain is empty, the caller chooses it."""

    task_guid: str = ""
    domain: str = ""
    definition: TaskDefinition


def read_document(value: object) -> Action | TaskDocument | DesiredLRP:
    """Recognise a parsed JSON document by its keys and read it.

    Raises:
        InvalidDocument: unknown kind, or invalid field; names the field.
    """
    keys = _members(value).keys()
    if is_desired_lrp(keys):
        return read_desired_lrp(value)
    if is_task(keys):
        return read_task(value)
    if keys & ACTION_TYPES.keys():
        return read_action(value)
    found = "one with the keys " + ", ".join(sorted(keys)) if keys else "an empty object"
    kinds = "an action (a key such as run), a Task (task_guid) or a DesiredLRP (process_guid)"
    raise InvalidDocument("$", kinds, found)


def is_desired_lrp(keys: Set[str]) -> bool:
    """Whether an object with these keys, in lower case, is a DesiredLRP."""
    return "task_guid" not in keys and bool(keys & _OF_LRPS)


def is_task(keys: Set[str]) -> bool:
    """Whether an object with these keys, in lower case, is a Task or its definition, and no DesiredLRP."""
    return not is_desired_lrp(keys) and bool(keys & (_OF_TASKS | _OF_BOTH))


def read_task(value: object) -> TaskDocument:
    """A Task, flat or with its definition under ``task_definition``, or a definition alone.

    Raises:
        InvalidDocument: names the field.
    """
    members = _members(value)
    nested = members.get("task_definition")
    if nested is None:
        definition = read_task_definition(value)
    else:
        try:
            definition = read_task_definition(nested)
        except InvalidDocument as error:
            raise error.within(".task_definition") from None
    return TaskDocument(
        task_guid=_text(members, "task_guid"), domain=_text(members, "domain"), definition=definition
    )


def _members(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        mismatch("an object", value)
    return {key.lower(): item for key, item in value.items()}


def _text(members: dict[str, object], key: str) -> str:
    value = members.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidDocument(f"$.{key}", "a string", describe(value))
    return well_formed(value)
