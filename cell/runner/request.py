"""Executor requests from a workload and the options. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bbs.models.actions import (
    Action,
    DownloadAction,
    EmitProgressAction,
    EmptyAction,
    RunAction,
    SerialAction,
    UploadAction,
    map_children,
)
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.documents import TaskDocument
from bbs.models.task import Task, TaskDefinition
from bbs.models.workload import SecurityGroupRule
from cell.development import BUSYBOX_IMAGE, BUSYBOX_STACK
from cell.errors import BadInput
from cell.runner.document import Workload
from cell.runner.options import Options
from cell.story.plan import action_node, root_actions
from executor.model import AllocationRequest, RunInfo, RunRequest
from rep import tags
from rep.rootfs import StackMap, UnknownStack
from rep.runrequest import RunRequestBuilder, RunRequestError

DEFAULT_SOURCE = "APP"
"""Log source of a bare action without one."""

GIVEN_STACK = "rootfs"
"""Stack name of a root given as a path by ``--rootfs``."""

EVERYTHING = SecurityGroupRule(protocol="all", destinations=("0.0.0.0/0",))
"""Egress rules of a bare action, which has no field for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The workload to run. kind: ``action``, ``task`` or ``lrp``. host_ports: requested, by container port.

    result_file: of a task, path in the container; empty for none.
    """

    kind: str
    name: str
    allocation: AllocationRequest
    run: RunRequest
    host_ports: dict[int, int]
    result_file: str = ""

    @property
    def info(self) -> RunInfo:
        return self.run.run_info


def make_order(workload: Workload, options: Options, guid: str) -> Order:
    """The executor requests. Raises BadInput."""
    builder = RunRequestBuilder(stacks=StackMap({BUSYBOX_STACK: BUSYBOX_IMAGE, **_given_stack(options)}))
    try:
        part: DesiredLRP | TaskDefinition
        if isinstance(workload, DesiredLRP):
            kind, name = "lrp", workload.process_guid
            part = lrp = replace(workload, root_fs=options.root_fs) if options.root_fs else workload
            request = builder.for_lrp(lrp, 0, guid)
        else:
            kind, name, definition = _task_part(workload, options)
            part = definition
            request = builder.for_task(Task(task_guid=guid, task_definition=definition))
    except RunRequestError as error:
        unknown = isinstance(error.__cause__, UnknownStack)
        hint = f" (`cell run` has the stack {BUSYBOX_STACK}; --image takes any image)" if unknown else ""
        raise BadInput(f"{error}{hint}") from error
    info = _overridden(request.run_info, options)
    if not info.log_config.guid:
        info = replace(info, log_config=replace(info.log_config, guid=guid))
    return Order(
        kind=kind,
        name=name,
        allocation=AllocationRequest(
            guid=guid,
            memory_mb=part.memory_mb if options.memory_mb is None else options.memory_mb,
            disk_mb=part.disk_mb if options.disk_mb is None else options.disk_mb,
            max_pids=part.max_pids,
        ),
        run=replace(request, run_info=info),
        host_ports={port.container_port: port.host_port for port in options.ports if port.host_port},
        result_file="" if options.only else request.tags.get(tags.RESULT_FILE, ""),
    )


def _task_part(workload: Action | TaskDocument, options: Options) -> tuple[str, str, TaskDefinition]:
    if isinstance(workload, TaskDocument):
        definition = workload.definition
        if options.root_fs:
            definition = replace(definition, root_fs=options.root_fs)
        return "task", workload.task_guid, definition
    if not options.root_fs:
        raise BadInput(f"an action has no root filesystem: give --image (such as {BUSYBOX_STACK})")
    definition = TaskDefinition(
        root_fs=options.root_fs, action=workload, log_source=DEFAULT_SOURCE, egress_rules=(EVERYTHING,)
    )
    return "action", "", definition


def _given_stack(options: Options) -> dict[str, str]:
    """The local archive or directory of the command line; documents cannot name one."""
    return {GIVEN_STACK: options.root_fs} if options.root_fs.startswith("/") else {}


def _overridden(info: RunInfo, options: Options) -> RunInfo:
    ports = tuple(dict.fromkeys([*info.ports, *(port.container_port for port in options.ports)]))
    info = replace(info, ports=ports, env=(*info.env, *options.env))
    if options.only:
        info = _only(info, options.only)
    if options.user:
        info = replace(
            info,
            setup=None if info.setup is None else _as_user(info.setup, options.user),
            action=None if info.action is None else _as_user(info.action, options.user),
            monitor=None if info.monitor is None else _as_user(info.monitor, options.user),
            sidecars=tuple(
                replace(one, action=None if one.action is None else _as_user(one.action, options.user))
                for one in info.sidecars
            ),
        )
    return info


def _as_user(action: Action, user: str) -> Action:
    """The action with ``user`` for all its steps."""
    match action:
        case RunAction() | DownloadAction() | UploadAction():
            return replace(action, user=user)
        case _:
            return map_children(action, lambda inner: _as_user(inner, user))


def _only(info: RunInfo, path: str) -> RunInfo:
    """Only the step at ``path``, without preceding steps and monitors. Raises BadInput."""
    known: list[str] = []
    for parent, root in root_actions(info):
        for node in action_node(root, parent).walk():
            known.append(node.path)
            if node.path == path and node.action is not None:
                action = _with_source(node.action, node.source) if node.source else node.action
                return replace(
                    info, setup=None, action=action, monitor=None, check_definition=None, sidecars=()
                )
    raise BadInput(f"--only {path}: no such step; there are: {', '.join(known)}")


def _with_source(action: Action, source: str) -> Action:
    match action:
        case EmptyAction():
            return action
        case SerialAction():  # a serial action does not pass its source to its children, so they get it here
            return map_children(action, lambda inner: _with_source(inner, source))
        case EmitProgressAction():
            below = map_children(action, lambda inner: _with_source(inner, source))
            return _with_own_source(below, source)
        case _:
            return _with_own_source(action, source)


def _with_own_source(action: Action, source: str) -> Action:
    if isinstance(action, EmptyAction) or action.log_source:
        return action
    return replace(action, log_source=source)
