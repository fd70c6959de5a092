"""The nine actions an action tree is made of.

An :data:`Action` is one of nine dataclasses. On the wire and in JSON it sits in a wrapper with nine
optional members; :class:`EmptyAction` stands for a wrapper with none of them set, so that validation
can name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from bbs.models.common import EnvironmentVariable, File
from bbs.models.meta import Int64, Json, UInt64


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadAction:
    """DownloadAction."""

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
    """UploadAction."""

    artifact: Annotated[str, Json("artifact", omit=True)] = ""
    from_: Annotated[str, Json("from")] = ""
    to: str = ""
    log_source: Annotated[str, Json("log_source", omit=True)] = ""
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAction:
    """RunAction."""

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
    """ResourceLimits."""

    nofile: Annotated[UInt64 | None, Json("nofile", omit=True)] = None
    nproc: Annotated[UInt64 | None, Json("nproc", omit=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutAction:
    """TimeoutAction."""

    action: Annotated[Action | None, Json("action", omit=True)] = None
    deprecated_timeout_ns: Annotated[Int64, Json("timeout", omit=True)] = 0
    log_source: Annotated[str, Json("log_source", omit=True)] = ""
    timeout_ms: Int64 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitProgressAction:
    """EmitProgressAction."""

    action: Annotated[Action | None, Json("action", omit=True)] = None
    start_message: str = ""
    success_message: str = ""
    failure_message_prefix: str = ""
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TryAction:
    """TryAction."""

    action: Annotated[Action | None, Json("action", omit=True)] = None
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelAction:
    """ParallelAction."""

    actions: Annotated[tuple[Action, ...], Json("actions", omit=True)] = ()
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialAction:
    """SerialAction."""

    actions: Annotated[tuple[Action, ...], Json("actions", omit=True)] = ()
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodependentAction:
    """CodependentAction."""

    actions: Annotated[tuple[Action, ...], Json("actions", omit=True)] = ()
    log_source: Annotated[str, Json("log_source", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyAction:
    """A wrapper with no member set: not runnable, refused by validation as ``inner-action``."""


Action: TypeAlias = (
    DownloadAction
    | UploadAction
    | RunAction
    | TimeoutAction
    | EmitProgressAction
    | TryAction
    | ParallelAction
    | SerialAction
    | CodependentAction
    | EmptyAction
)
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
"""JSON key of the wrapper -> action. When several members are set, the first in this order counts."""
