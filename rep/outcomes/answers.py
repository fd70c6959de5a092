"""Which answers of the BBS end a report. Pure.

A report may arrive twice: its answer can get lost, or the rep can be killed before it notes the answer. The
BBS refuses the second one, because the record has changed or is gone. Such a refusal is the proof that the
first one arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from bbs.client.transport import may_pass
from bbs.models.errors import BBSError, ErrorType
from rep.outcomes.reports import (
    CompleteTask,
    CrashActualLRP,
    EndReport,
    EvacuateClaimedActualLRP,
    EvacuateCrashedActualLRP,
    EvacuateStoppedActualLRP,
    RejectTask,
    RemoveActualLRP,
)


class Verdict(Enum):
    """What an answer means for the report."""

    DONE = "done"
    """The BBS has recorded the outcome, or will never take the report."""
    UNAVAILABLE = "unavailable"
    """No answer, or one of a BBS that fails: every report would get it, so one at a time is tried."""
    REFUSED = "refused"
    """The BBS works but does not take this report now; it is sent again after growing pauses."""


FINAL: Final[Mapping[type[EndReport], frozenset[ErrorType]]] = {
    CrashActualLRP: frozenset({ErrorType.ResourceNotFound, ErrorType.ActualLRPCannotBeCrashed}),
    EvacuateCrashedActualLRP: frozenset({ErrorType.ResourceNotFound, ErrorType.ActualLRPCannotBeCrashed}),
    RemoveActualLRP: frozenset({ErrorType.ResourceNotFound}),
    EvacuateStoppedActualLRP: frozenset({ErrorType.ResourceNotFound}),
    EvacuateClaimedActualLRP: frozenset({ErrorType.ResourceNotFound, ErrorType.ActualLRPCannotBeUnclaimed}),
    CompleteTask: frozenset(
        {ErrorType.ResourceNotFound, ErrorType.InvalidStateTransition, ErrorType.RunningOnDifferentCell}
    ),
    RejectTask: frozenset({ErrorType.ResourceNotFound}),
}
"""The errors that end a report of each kind. Success ends all of them."""

NEVER_ACCEPTED: Final = frozenset({ErrorType.InvalidRequest})
"""Errors that end every report: the BBS refuses the request itself, and would refuse it again. An
``EvacuateCrashedActualLRP`` without a reason is one. A bulk pass then removes the record as residual."""

UNAVAILABLE_ERRORS: Final = frozenset({ErrorType.Timeout, ErrorType.RouterError})
"""Errors of a failing BBS or router, besides those that the client repeats."""

INVALID_STATE_TRANSITION: Final = "invalid state transition"
"""The failure reason of :func:`follow_up`."""


def verdict(report: EndReport, error: BBSError | None) -> Verdict:
    """What the answer to a report means; None for success."""
    if error is None or error.type in FINAL[type(report)] | NEVER_ACCEPTED:
        return Verdict.DONE
    return Verdict.UNAVAILABLE if may_pass(error) or error.type in UNAVAILABLE_ERRORS else Verdict.REFUSED


def follow_up(report: EndReport, error: BBSError | None) -> CompleteTask | None:
    """The call that the original makes once more after this answer, or None. Its answer does not matter."""
    if (
        isinstance(report, CompleteTask)
        and error is not None
        and error.type is ErrorType.InvalidStateTransition
    ):
        return CompleteTask(report.task_guid, failed=True, failure_reason=INVALID_STATE_TRANSITION, result="")
    return None
