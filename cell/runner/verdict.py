"""Result of a run, computed from all known facts, and its text. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cell.errors import BAD_INPUT, FAILED, HOST, INTERRUPTED, SUCCESS
from cell.runner.events import RunEnded
from common.gotext import SECOND, format_duration
from executor.errors import ExecutorError, ImageError
from executor.model import RunResult

NOT_MADE = "failed to create container: "
"""Prefix of the executor's reason if the engine or the network could not provide the container."""

INTERRUPTED_REASON = "interrupted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Exit code, and the reason if it is not 0."""

    exit_code: int
    reason: str = ""


def judge(
    result: RunResult,
    *,
    interrupted: bool = False,
    timed_out_s: float | None = None,
    fault: ExecutorError | None = None,
) -> Verdict:
    """timed_out_s: the limit, if it stopped the run. fault: the engine's error.

    The user's interruption has priority, then faults of engine and machine, then those of the tree.
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


def failure_text(ended: RunEnded) -> str:
    """Reason, cause, step and container of a failure."""
    text = f"{ended.reason}: {ended.cause}" if ended.cause else ended.reason
    place = f"step {ended.path}, " if ended.path else ""
    return f"{text} ({place}container {ended.guid})"
