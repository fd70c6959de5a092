"""How a run ended, out of everything that is known about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bbs.models.durations import SECOND, format_duration
from cell.runner.errors import BAD_INPUT, FAILED, HOST, INTERRUPTED, SUCCESS
from executor.errors import ExecutorError, ImageError
from executor.model import RunResult

NOT_MADE = "failed to create container: "
"""How the executor begins the reason when engine or network could not provide the container."""

INTERRUPTED_REASON = "interrupted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Exit code, and the reason where it is not 0."""

    exit_code: int
    reason: str = ""


def judge(
    result: RunResult,
    *,
    interrupted: bool = False,
    timed_out_s: float | None = None,
    fault: ExecutorError | None = None,
) -> Verdict:
    """timed_out_s: the limit, when the run was stopped for it. fault: what the engine failed with.

    The user's own wish for the end counts most, then who is to blame: engine and machine before the tree.
    """
    if interrupted:
        return Verdict(INTERRUPTED, INTERRUPTED_REASON)
    not_made = result.failure_reason.startswith(NOT_MADE)
    if (fault is not None and (result.failed or timed_out_s is not None)) or not_made:
        code = BAD_INPUT if isinstance(fault, ImageError) else HOST
        return Verdict(code, result.failure_reason or str(fault))
    if timed_out_s is not None:
        limit = format_duration(round(timed_out_s * SECOND))
        return Verdict(FAILED, f"did not end within {limit} (--timeout)")
    if result.failed:
        return Verdict(FAILED, result.failure_reason)
    return Verdict(SUCCESS)
