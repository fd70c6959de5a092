"""Verdicts: a promise and a run of its command -> the text that was measured, met or not. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from benchmarks.figures import Figure, by_name, value_of
from benchmarks.promises import PROMISES, Promise
from benchmarks.results import Run


class Verdict(Enum):
    MET = "met"
    MISSED = "missed"
    FAILED = "failed"
    """The command did not succeed, or took too long."""
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A promise with its measured text and verdict. explained: it needs no attention."""

    promise: Promise
    measured: str
    verdict: Verdict

    @property
    def explained(self) -> bool:
        return self.verdict is Verdict.MET or (
            self.verdict is Verdict.MISSED and bool(self.promise.why_missed)
        )


COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


def judge(promise: Promise, run: Run | None) -> Outcome:
    """The outcome of a promise. run: of its command, if there was one.

    Raises LookupError for a figure that the run does not have.
    """
    if run is None:
        return Outcome(promise, "", Verdict.NOT_MEASURED)
    if run.status != 0:
        how = f"exit status {run.status}" if run.status is not None else f"no end within {run.seconds:.0f} s"
        return Outcome(promise, how, Verdict.FAILED)
    measured = promise.measured.format_map(by_name(run.figures))
    if all(holds(limit, run.figures) for limit in promise.limits):
        return Outcome(promise, measured, Verdict.MET)
    why = f"; missed: {promise.why_missed}" if promise.why_missed else "; missed"
    return Outcome(promise, measured + why, Verdict.MISSED)


def holds(limit: str, figures: Sequence[Figure]) -> bool:
    """Whether a condition such as ``seconds[25].ratio <= 1.15`` holds. Raises LookupError, ValueError."""
    path, comparison, bound = limit.split()
    return COMPARISONS[comparison](value_of(path, figures), float(bound))


def outcomes(runs: Mapping[str, Run]) -> list[Outcome]:
    """The outcome of each promise. runs: by the text of their command."""
    return [judge(promise, runs.get(promise.command.text)) for promise in PROMISES]
