"""What the decision tables can ask for, and how an answer steers the rest.

A plan is a sequence of :class:`Step`. Every command yields one :class:`Outcome`; the step says which
commands answer an outcome and with which outcomes the plan goes on. Errors are classified once, in
:func:`classify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from bbs.models.actual_lrp import (
    ActualLRPInstanceKey,
    ActualLRPInternalRoute,
    ActualLRPKey,
    ActualLRPNetInfo,
)
from bbs.models.errors import BBSError, ErrorType


class Outcome(Enum):
    """How a command ended.

    RUN_REFUSED: by the executor. UNRUNNABLE: what is desired cannot become a run request, and never will.
    """

    DONE = "done"
    ALREADY_STARTED = "already started"
    KEEP_CONTAINER = "keep container"
    CANNOT_BE_CLAIMED = "cannot be claimed"
    CANNOT_BE_STARTED = "cannot be started"
    INVALID_STATE_TRANSITION = "invalid state transition"
    NOT_FOUND = "not found"
    RUN_REFUSED = "run refused"
    UNRUNNABLE = "unrunnable"
    FAILED = "failed"


_ERRORS = {
    ErrorType.ActualLRPCannotBeClaimed: Outcome.CANNOT_BE_CLAIMED,
    ErrorType.ActualLRPCannotBeStarted: Outcome.CANNOT_BE_STARTED,
    ErrorType.InvalidStateTransition: Outcome.INVALID_STATE_TRANSITION,
    ErrorType.ResourceNotFound: Outcome.NOT_FOUND,
}


def classify(error: BBSError) -> Outcome:
    """The four error types a cell tells apart; all others are a plain failure."""
    return _ERRORS.get(error.type, Outcome.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Whom a command about an LRP instance is about."""

    key: ActualLRPKey
    instance_key: ActualLRPInstanceKey

    @property
    def guid(self) -> str:
        """The instance guid, which is also the container's."""
        return self.instance_key.instance_guid


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a running instance tells the BBS about itself."""

    net_info: ActualLRPNetInfo
    internal_routes: tuple[ActualLRPInternalRoute, ...] = ()
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    routable: bool = True
    availability_zone: str = ""


@dataclass(frozen=True, slots=True)
class ClaimActualLRP:
    """Tell the BBS that the instance is being made here."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class RunLRP:
    """Fetch the DesiredLRP, build the run request, hand it to the executor."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class StartActualLRP:
    """Tell the BBS that the instance runs, and where."""

    instance: Instance
    announcement: Announcement


@dataclass(frozen=True, slots=True)
class CrashActualLRP:
    """Report that the instance ended by itself. reason: None for the text of the outcome this answers."""

    instance: Instance
    reason: str | None


@dataclass(frozen=True, slots=True)
class RemoveActualLRP:
    """Tell the BBS that the instance is gone, as asked."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class RemoveEvacuatingActualLRP:
    """Tell the BBS that an evacuating instance is gone."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class EvacuateClaimedActualLRP:
    """Give back an instance that does not run yet."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class EvacuateRunningActualLRP:
    """Ask for a replacement of a running instance; the answer says whether to keep it."""

    instance: Instance
    announcement: Announcement


@dataclass(frozen=True, slots=True)
class EvacuateStoppedActualLRP:
    """As RemoveActualLRP, on an evacuating cell."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class EvacuateCrashedActualLRP:
    """As CrashActualLRP, on an evacuating cell."""

    instance: Instance
    reason: str


@dataclass(frozen=True, slots=True)
class LogReplacementRequest:
    """The app log line of an evacuated instance; once per container."""

    guid: str


@dataclass(frozen=True, slots=True)
class StopContainer:
    """End the container's processes gracefully."""

    guid: str


@dataclass(frozen=True, slots=True)
class DeleteContainer:
    """Destroy the container."""

    guid: str


@dataclass(frozen=True, slots=True)
class StartTask:
    """Ask the BBS whether the task is to be started here."""

    task_guid: str


@dataclass(frozen=True, slots=True)
class RunTask:
    """Fetch the task, build the run request, hand it to the executor."""

    task_guid: str


@dataclass(frozen=True, slots=True)
class CompleteTask:
    """Report how the task ended. The result belongs to the app and stays out of logs.

    failure_reason: None for the text of the outcome this answers.
    """

    task_guid: str
    failed: bool
    failure_reason: str | None
    result: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RejectTask:
    """Give the task back: it may be placed again.

    The call names no cell, so it would also take the task from another cell. ours: the task is known to
    run here; otherwise the BBS is asked first.
    """

    task_guid: str
    reason: str
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """Nothing can be done; say so in the log."""

    message: str
    guid: str
    detail: str = ""


LRPCommand: TypeAlias = (
    ClaimActualLRP
    | RunLRP
    | StartActualLRP
    | CrashActualLRP
    | RemoveActualLRP
    | RemoveEvacuatingActualLRP
    | EvacuateClaimedActualLRP
    | EvacuateRunningActualLRP
    | EvacuateStoppedActualLRP
    | EvacuateCrashedActualLRP
)
TaskCommand: TypeAlias = StartTask | RunTask | CompleteTask | RejectTask
LocalCommand: TypeAlias = LogReplacementRequest | StopContainer | DeleteContainer | Report
Command: TypeAlias = LRPCommand | TaskCommand | LocalCommand
"""Anything a decision can ask for: about an instance, about a task, or without the BBS."""

WHATEVER = frozenset(Outcome)
"""For steps that the plan goes on after, whatever they answer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command; ``on`` what answers an outcome, ``goes_on`` with which outcomes the next step is taken."""

    command: Command
    on: Mapping[Outcome, tuple[Command, ...]] = field(default_factory=dict)
    goes_on: frozenset[Outcome] = frozenset({Outcome.DONE})


Plan: TypeAlias = tuple[Step, ...]


def explained(command: Command, why: str) -> Command:
    """The command with ``why`` in the place of a reason that the table left open."""
    match command:
        case CrashActualLRP(reason=None):
            return replace(command, reason=why)
        case CompleteTask(failure_reason=None):
            return replace(command, failure_reason=why)
    return command
