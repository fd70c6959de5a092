"""The step tree of a workload before its run, with the paths of the step events."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    EmptyAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    UploadAction,
    children,
    kind_of,
)
from common.gotext import format_seconds
from executor.logs.streamer import DEFAULT_SOURCE
from executor.model import RunInfo

CONCURRENT = frozenset({"parallel", "codependent"})
"""Kinds whose children run in parallel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step. path: as in the step events. kind: ``run``, ``serial`` ... ``monitor``. label: short summary.
    source: log source of its lines.
    """

    path: str
    kind: str
    label: str = ""
    source: str = ""
    action: Action | None = None
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This node and all nodes below, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class OutlineRow:
    """One step of an outline: path, kind and label as of its :class:`Node`. depth: 0 for a root."""

    path: str
    depth: int
    kind: str
    label: str


def outline(info: RunInfo, most: int) -> list[OutlineRow]:
    """The first ``most`` steps of a container, parents first. The rest of a large tree is not looked at."""
    watchers = [OutlineRow(each.path, 0, each.kind, each.label) for each in _watchers(info, "")]
    rows: list[OutlineRow] = []
    waiting = [(action, parent, 0) for parent, action in reversed(root_actions(info))]
    while waiting and len(rows) + len(watchers) < most:
        action, parent, depth = waiting.pop()
        kind = _kind(action)
        path = f"{parent}/{kind}"
        rows.append(OutlineRow(path, depth, kind, label_of(action)))
        below = _children(action, path)
        waiting += [(inner, prefix, depth + 1) for inner, prefix in reversed(below)]
    return rows + watchers


def plan(info: RunInfo) -> tuple[Node, ...]:
    """The step trees of a container, in start order."""
    source = info.log_config.source_name or DEFAULT_SOURCE
    roots = [action_node(action, parent, source) for parent, action in root_actions(info)]
    return (*roots, *_watchers(info, source))


def _watchers(info: RunInfo, source: str) -> list[Node]:
    """The health checks, which run beside the action."""
    roots = []
    definition = info.check_definition
    if definition is not None and definition.checks:
        roots.append(Node(path="monitor", kind="monitor", label=f"{len(definition.checks)} checks"))
    elif definition is None and info.monitor is not None:
        # probes repeat and are not reported one by one: only the monitor as a whole has events
        below = action_node(info.monitor, "monitor", source)
        label = next((node.label for node in below.walk() if not node.children and node.label), below.kind)
        roots.append(Node(path="monitor", kind="monitor", label=label, action=info.monitor))
    if definition is not None and definition.readiness_checks:
        label = f"{len(definition.readiness_checks)} checks"
        roots.append(Node(path="readiness", kind="readiness", label=label))
    return roots


def root_actions(info: RunInfo) -> list[tuple[str, Action]]:
    """Setup, action and sidecars, each with its parent path."""
    roots = [("setup", info.setup), ("action", info.action)]
    roots += [(f"sidecar[{index}]", sidecar.action) for index, sidecar in enumerate(info.sidecars)]
    return [(parent, action) for parent, action in roots if action is not None]


def action_node(action: Action, parent: str, source: str = "") -> Node:
    """The node of an action. parent: path prefix. source: inherited log source."""
    kind = _kind(action)
    path = f"{parent}/{kind}"
    own = source if isinstance(action, EmptyAction) else action.log_source or source
    inherited = source if isinstance(action, SerialAction | EmitProgressAction) else own
    return Node(
        path=path,
        kind=kind,
        label=label_of(action),
        source=own,
        action=action,
        children=tuple(action_node(inner, prefix, inherited) for inner, prefix in _children(action, path)),
    )


def _children(action: Action, path: str) -> Sequence[tuple[Action, str]]:
    """The direct children of an action with their path prefixes; ``path``: the action's own path."""
    below = children(action)
    if isinstance(action, SerialAction | ParallelAction | CodependentAction):
        return [(inner, f"{path}[{index}]") for index, inner in enumerate(below)]
    return [(inner, path) for inner in below]


def _kind(action: Action) -> str:
    """The name of an action in traces and paths."""
    return kind_of(action).replace("_", "-") or "nothing"


def label_of(action: Action) -> str:
    """A short summary of an action; empty for actions that only combine others."""
    match action:
        case RunAction():
            return shlex.join([action.path, *action.args])
        case DownloadAction():
            return f"{action.artifact or action.from_} -> {action.to}"
        case UploadAction():
            return f"{action.artifact or action.from_} -> {action.to}"
        case TimeoutAction():
            return format_seconds(action.timeout_ms / 1000)
        case EmitProgressAction():
            return action.start_message
        case _:
            return ""
