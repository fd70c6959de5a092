"""The nine actions of an action tree.

An :data:`Action` is one of nine dataclasses. On the wire and in JSON it is in a wrapper with nine optional
members. :class:`EmptyAction` represents a wrapper without members, so that validation can name it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from bbs.models.common import EnvironmentVariable, File
from bbs.models.meta import Int64, Json, UInt64

MAX_DEPTH = 48
"""Maximum depth of nested actions, including the outermost and the innermost. Protobuf's runtime reads
messages up to 100 levels deep; each action takes two levels, and the rest of the message takes four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadAction:
    """Download an archive and unpack it into a directory of the container.

    artifact: name for log lines; without one nothing is logged.
    from_: URL.
    to: directory.
    cache_key: key in the cell's cache; empty means not cached.
    checksum_value: hex; requires checksum_algorithm (``md5``, ``sha1``, ``sha256``), and vice versa.
    """

    artifact: Annotated[str, Json("artifact", omit=True)] = ""
    from_: Annotated[str, Json("from")] = ""
    to: str = ""
    cache_key: str = ""
    log_source: Annotated[str, Json("log_source", omit=True)] = ""
    user: str = ""
    checksum_algorithm: Annotated[str, Json("checksum_algorithm", omit=True)] = ""
    checksum_value: Annotated[str, Json("checksum_value", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadAction:
    """Upload a file of the container with an HTTP POST.

    artifact: name for log lines.
    from_: path in the container.
    to: URL.
    """

    artifact: Annotated[str, Json("artifact", omit=True)] = ""
    from_: Annotated[str, Json("from")] = ""
    to: str = ""
    log_source: Annotated[str, Json("log_source", omit=True)] = ""
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAction:
    """Run a program in the container until it ends.

    path: absolute, or looked up in ``dir`` and PATH.
    env: overrides the container's environment.
    log_source: overrides the container's.
    suppress_log_output: do not send its output to the logs.
    volume_mounted_files: part of the message, but ignored by cells.
    """

    path: str = ""
    args: Annotated[tuple[str, ...], Json("args", omit=True)] = ()
    dir: Annotated[str, Json("dir", omit=True)] = ""
    env: Annotated[tuple[EnvironmentVariable, ...], Json("env", omit=True)] = ()
    resource_limits: Annotated[ResourceLimits | None, Json("resource_limits", omit=True)] = None
    user: str = ""
    log_source: Annotated[str, Json("log_source", omit=True)] = ""
    suppress_log_output: bool = False
    volume_mounted_files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Limits of one process.

    nofile: open files; None keeps the container's limit.
    nproc: no longer used; see ``max_pids``.
    """

    nofile: Annotated[UInt64 | None, Json("nofile", omit=True)] = None
    nproc: Annotated[UInt64 | None, Json("nproc", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutAction:
    """Run an action with a time limit; exceeding it is a failure.

    timeout_ms: milliseconds.
    deprecated_timeout_ns: nanoseconds, only written for old clients.
    """

    action: Annotated[Action | None, Json("action", omit=True)] = None
    deprecated_timeout_ns: Annotated[Int64, Json("timeout", omit=True)] = 0
    log_source: Annotated[str, Json("log_source", omit=True)] = ""
    timeout_ms: Int64 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitProgressAction:
    """Log a message before an action, and another after it.

    failure_message_prefix: start of the log line about a failure.
    """

    action: Annotated[Action | None, Json("action", omit=True)] = None
    start_message: str = ""
    success_message: str = ""
    failure_message_prefix: str = ""
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TryAction:
    """Run an action and ignore its failure."""

    action: Annotated[Action | None, Json("action", omit=True)] = None
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelAction:
    """Run actions at the same time, wait for all, and fail if any of them fails."""

    actions: Annotated[tuple[Action, ...], Json("actions", omit=True)] = ()
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialAction:
    """Run actions in order, up to the first failure."""

    actions: Annotated[tuple[Action, ...], Json("actions", omit=True)] = ()
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodependentAction:
    """Run actions at the same time; when one ends, for any reason, interrupt the others."""

    actions: Annotated[tuple[Action, ...], Json("actions", omit=True)] = ()
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyAction:
    """A wrapper without members: not runnable, refused by validation as ``inner-action``."""


Wrapper: TypeAlias = TimeoutAction | EmitProgressAction | TryAction
"""An action with one child action."""

Combination: TypeAlias = ParallelAction | SerialAction | CodependentAction
"""An action with any number of child actions."""

Action: TypeAlias = DownloadAction | UploadAction | RunAction | Wrapper | Combination | EmptyAction
"""Any action."""

ACTION_TYPES: Mapping[str, type[Action]] = {
    "download": DownloadAction,
    "upload": UploadAction,
    "run": RunAction,
    "timeout": TimeoutAction,
    "emit_progress": EmitProgressAction,
    "try": TryAction,
    "parallel": ParallelAction,
    "serial": SerialAction,
    "codependent": CodependentAction,
}
"""JSON key of the wrapper -> action. If several members are set, the first in this order is used."""


def kind_of(action: Action) -> str:
    """The JSON key of an action's wrapper (``emit_progress``); empty for an EmptyAction."""
    return _KINDS.get(type(action), "")


def children(action: Action) -> tuple[Action, ...]:
    """The direct child actions, in order."""
    if isinstance(action, Combination):
        return action.actions
    return (action.action,) if isinstance(action, Wrapper) and action.action is not None else ()


def json_paths(action: Action, path: str) -> list[str]:
    """The JSON paths of the direct child actions. path: of the action's wrapper."""
    own = f"{path}.{kind_of(action)}"
    if isinstance(action, Combination):
        return [f"{own}.actions[{index}]" for index in range(len(action.actions))]
    return [f"{own}.action" for _ in children(action)]


def map_children(action: Action, change: Callable[[Action], Action]) -> Action:
    """The action with ``change`` applied to each direct child action."""
    if isinstance(action, Combination):
        return replace(action, actions=tuple(change(inner) for inner in action.actions))
    if isinstance(action, Wrapper) and action.action is not None:
        return replace(action, action=change(action.action))
    return action


_KINDS = {action_type: key for key, action_type in ACTION_TYPES.items()}
