"""Outcome of a staging: the builder's result, or the reason of the failure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cell.apps.recipes.values import Sidecar
from cell.client.session import CommandFailed

NO_APP_DETECTED = "NoAppDetectedError"
FAILURES_BY_SUFFIX = {
    "222": NO_APP_DETECTED,
    "223": "BuildpackCompileFailed",
    "224": "BuildpackReleaseFailed",
}
FAILURES_BY_PREFIX = {
    "insufficient resources": "InsufficientResources",
    "found no compatible cell": "NoCompatibleCell",
}
UNREACHABLE = "unable to communicate to compatible cells"


class StagingFailed(CommandFailed):
    """A staging Task failed; the message has the Task's reason and the Cloud Controller's error name."""

    def __init__(self, reason: str, tried: Sequence[str] = ()) -> None:
        """tried: names of the buildpacks whose detection ran."""
        name = failure_name(reason)
        hint = ""
        if name == NO_APP_DETECTED and tried:
            hint = f"; buildpacks tried: {', '.join(tried)}; name the right one with --buildpack"
        super().__init__(f"staging failed: {reason} ({name}){hint}")
        self.reason = reason


def failure_name(reason: str) -> str:
    """The Cloud Controller's name of a staging failure."""
    for suffix, name in FAILURES_BY_SUFFIX.items():
        if reason.endswith(suffix):
            return name
    for prefix, name in FAILURES_BY_PREFIX.items():
        if reason.startswith(prefix):
            return name
    return "CellCommunicationError" if reason == UNREACHABLE else "StagingError"


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingResult:
    """execution_metadata: for the launcher, unchanged. metadata: of the lifecycle, such as its buildpacks."""

    process_types: Mapping[str, str] = field(default_factory=dict)
    sidecars: tuple[Sidecar, ...] = ()
    execution_metadata: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str, process_type: str) -> StagingResult:
        """Parse ``result.json``. process_type: its sidecars are used. Raises StagingFailed."""
        try:
            found = json.loads(text)
            return cls(
                process_types=dict(found.get("process_types") or {}),
                sidecars=tuple(
                    Sidecar(name=each["name"], command=each["command"], memory_mb=each.get("memory"))
                    for each in found.get("sidecars") or ()
                    if process_type in each["process_types"]
                ),
                execution_metadata=str(found.get("execution_metadata") or ""),
                metadata=dict(found.get("lifecycle_metadata") or {}),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StagingFailed(f"the builder's result cannot be read: {text[:200]}") from error
