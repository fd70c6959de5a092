"""Readers of Receptor documents.

The same functions read the current form: its keys are a superset, and old and new spellings do not conflict.
Values that the old form does not contain get defaults.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from bbs.models.actions import (
    ACTION_TYPES,
    Action,
    DownloadAction,
    EmptyAction,
    RunAction,
    TimeoutAction,
    UploadAction,
    json_paths,
    map_children,
)
from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.cell import CellPresence
from bbs.models.codec import action_from_json, from_json
from bbs.models.common import SOURCE_ID, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.invalid import InvalidDocument, describe
from bbs.models.receptor.upgrade import (
    Document,
    check_port,
    upgrade_cell_keys,
    upgrade_desired_lrp,
    upgrade_workload,
)
from bbs.models.task import Task, TaskDefinition, TaskState

DEFAULT_USER = "vcap"
"""User of run, download and upload actions if the document has none."""

_NS_PER_MS = 1_000_000
_STATES = {state.name.upper(): state.name for state in TaskState}


class MissingField(InvalidDocument):
    """A required field that is absent or empty."""

    @classmethod
    def at(cls, path: str) -> MissingField:
        return cls(path, "a value (this field is required)", "nothing")


def read_action(value: object) -> Action:
    """Read an action tree. Raises InvalidDocument, also for an unknown kind of action."""
    return modern_action(action_from_json(value), "$")


def read_desired_lrp(value: object) -> DesiredLRP:
    """Read a DesiredLRP: create request or response.

    ``metrics_guid`` falls back to log_guid, then process_guid. Without tags it also becomes the ``source_id``
    tag.

    Raises:
        MissingField: process_guid, domain, rootfs or action.
        InvalidDocument: any other error; names the field.
    """
    document = Document(value)
    upgrade_desired_lrp(document)
    _require(document, "process_guid", "domain", "rootfs", "action")
    with document.reading() as members:
        lrp = from_json(DesiredLRP, members)
        for index, port in enumerate(lrp.ports):
            check_port(port, f"$.ports[{index}]")
        lrp = replace(
            lrp,
            action=_optional(lrp.action, "$.action"),
            setup=_optional(lrp.setup, "$.setup"),
            monitor=_optional(lrp.monitor, "$.monitor"),
            sidecars=tuple(
                replace(one, action=_optional(one.action, f"$.sidecars[{index}].action"))
                for index, one in enumerate(lrp.sidecars)
            ),
            start_timeout_ms=lrp.start_timeout_ms or lrp.deprecated_start_timeout_s * 1000,
            deprecated_start_timeout_s=0,
        )
    return lrp if lrp.metric_tags else _with_metric_tags(lrp)


def read_desired_lrp_update(value: object) -> DesiredLRPUpdate:
    """Read an update; absent or null keys mean no change. Raises InvalidDocument."""
    return from_json(DesiredLRPUpdate, value)


def read_task(value: object) -> Task:
    """Read a Task: create request or response.

    Raises:
        MissingField: task_guid, domain, rootfs or action.
        InvalidDocument: any other error; names the field.
    """
    document = Document(value)
    upgrade_workload(document)
    upgrade_cell_keys(document)
    _require(document, "task_guid", "domain")
    return _task(document)


def read_task_definition(value: object) -> TaskDefinition:
    """Read a definition alone. Raises like :func:`read_task`, but task_guid and domain are optional."""
    document = Document(value)
    upgrade_workload(document)
    definition = _task(document).task_definition
    assert definition is not None
    return definition


def read_actual_lrp(value: object) -> ActualLRP:
    """Read an instance from a response. Raises InvalidDocument."""
    document = Document(value)
    upgrade_cell_keys(document)
    evacuating = document.members.pop("evacuating", None) or False
    if not isinstance(evacuating, bool):
        raise InvalidDocument("$.evacuating", "true or false", describe(evacuating))
    with document.reading() as members:
        row = from_json(ActualLRP, members)
    for index, port in enumerate(row.actual_lrp_net_info.ports):
        check_port(port.container_port, f"$.ports[{index}].container_port")
        check_port(port.host_port, f"$.ports[{index}].host_port")
    return replace(row, presence=Presence.EVACUATING) if evacuating else row


def read_cell(value: object) -> CellPresence:
    """Read a cell from a response. Providers are an object; in mid-2015 they were a list."""
    document = Document(value)
    providers = document.members.pop("rootfs_providers", None)
    if isinstance(providers, dict):
        providers = [{"name": name, "properties": parts} for name, parts in providers.items()]
    elif isinstance(providers, list):
        providers = [{"name": one} if isinstance(one, str) else one for one in providers]
    if providers is not None:
        document.put("rootfs_provider_list", providers, instead_of="rootfs_providers")
    with document.reading() as members:
        return from_json(CellPresence, members)


def modern_action(action: Action, path: str) -> Action:
    """The action with the default user and with timeouts in milliseconds.

    path: path of the action, for errors.

    Raises InvalidDocument for an action of no known kind.
    """
    match action:
        case EmptyAction():
            kinds = ", ".join(ACTION_TYPES)
            raise InvalidDocument(path, f"an object with one of the keys {kinds}", "one with none of them")
        case RunAction() | DownloadAction() | UploadAction():
            return action if action.user else replace(action, user=DEFAULT_USER)
        case TimeoutAction():
            timeout_ms = action.timeout_ms or _milliseconds(action.deprecated_timeout_ns)
            action = replace(action, timeout_ms=timeout_ms, deprecated_timeout_ns=0)
    paths = iter(json_paths(action, path))
    return map_children(action, lambda inner: modern_action(inner, next(paths)))


def _optional(action: Action | None, path: str) -> Action | None:
    return None if action is None else modern_action(action, path)


def _milliseconds(ns: int) -> int:
    """Milliseconds, at least 1 for a positive duration."""
    return max(1, ns // _NS_PER_MS) if ns > 0 else ns // _NS_PER_MS


def _with_metric_tags(lrp: DesiredLRP) -> DesiredLRP:
    guid = lrp.metrics_guid or lrp.log_guid or lrp.process_guid
    return replace(lrp, metrics_guid=guid, metric_tags={SOURCE_ID: MetricTagValue(static=guid)})


def _task(document: Document) -> Task:
    _require(document, "rootfs", "action")
    state = document.get("state")
    if isinstance(state, str):
        document.members["state"] = _STATES.get(state, state)
    with document.reading() as members:
        task = from_json(Task, members)
        definition = task.task_definition
        assert definition is not None
        _check_url(definition.completion_callback_url)
        action = _optional(definition.action, "$.action")
        return replace(task, task_definition=replace(definition, action=action))


def _check_url(url: str) -> None:
    if not url:
        return
    path, expected = "$.completion_callback_url", "an absolute http or https URL"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidDocument(path, expected, describe(url)) from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidDocument(path, expected, describe(url))


def _require(document: Document, *keys: str) -> None:
    for key in keys:
        if document.get(key) in (None, "", {}):
            raise MissingField.at(f"$.{key}")
