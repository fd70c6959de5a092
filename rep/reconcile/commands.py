"""Commands of the decision tables, and plans that combine them.

A plan is a sequence of :class:`Step`. Every command yields one :class:`Outcome`. The step maps outcomes
to follow-up commands and lists the outcomes after which the plan continues. :func:`classify` classifies
all errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from bbs.models.actual_lrp import RunningData
from bbs.models.errors import BBSError, ErrorType
from rep.outcomes.reports import CompleteTask, CrashActualLRP, EndReport, Instance


class Outcome(Enum):
    """The result of a command.

    RUN_REFUSED: by the executor. UNRUNNABLE: no run request can ever be built from the workload.
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
    """The outcome of a BBS error: four error types have their own, all others are FAILED."""
    return _ERRORS.get(error.type, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class ClaimActualLRP:
    """Report to the BBS that this cell creates the instance."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class RunLRP:
    """Fetch the DesiredLRP, build the run request, pass it to the executor."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class StartActualLRP:
    """Report to the BBS that the instance runs, and its addresses."""

    instance: Instance
    running: RunningData


@dataclass(frozen=True, slots=True)
class RemoveEvacuatingActualLRP:
    """Report to the BBS that an evacuating instance is gone."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class EvacuateRunningActualLRP:
    """Request a replacement of a running instance; the answer says whether to keep the container."""

    instance: Instance
    running: RunningData


@dataclass(frozen=True, slots=True)
class LogReplacementRequest:
    """Write the app log line of an evacuated instance; once per container."""

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
    """Ask the BBS whether to start the task here."""

    task_guid: str


@dataclass(frozen=True, slots=True)
class RunTask:
    """Fetch the task, build the run request, pass it to the executor."""

    task_guid: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Keep the report in the ledger and send it; done when the container may be deleted."""

    report: EndReport


@dataclass(frozen=True, slots=True)
class Report:
    """Log that nothing can be done."""

    message: str
    guid: str
    detail: str = ""


LRPCommand: TypeAlias = (
    ClaimActualLRP | RunLRP | StartActualLRP | RemoveEvacuatingActualLRP | EvacuateRunningActualLRP
)
TaskCommand: TypeAlias = StartTask | RunTask
LocalCommand: TypeAlias = LogReplacementRequest | StopContainer | DeleteContainer | Settle | Report
Command: TypeAlias = LRPCommand | TaskCommand | EndReport | LocalCommand
"""Any command of a decision: about an instance, about a task, about an ended one, or without the BBS."""

ANY_OUTCOME = frozenset(Outcome)
"""For steps after which the plan always continues."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command. ``on``: follow-up commands by outcome, up to the first that fails. ``goes_on``: outcomes
    before the next step."""

    command: Command
    on: Mapping[Outcome, tuple[Command, ...]] = field(default_factory=dict)
    goes_on: frozenset[Outcome] = frozenset({Outcome.DONE})


Plan: TypeAlias = tuple[Step, ...]


def explained(command: Command, why: str) -> Command:
    """The command, with ``why`` as its reason if the table left the reason open."""
    match command:
        case Settle(CrashActualLRP(reason=None) as report):
            return Settle(replace(report, reason=why))
        case Settle(CompleteTask(failure_reason=None) as report):
            return Settle(replace(report, failure_reason=why))
    return command
