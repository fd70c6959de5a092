"""Verdicts about promises, and the table of the document with new figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.figures import Figure
from benchmarks.promises import Command, Promise
from benchmarks.results import Run
from benchmarks.specification import HEADER, rewritten, rows
from benchmarks.verdicts import Outcome, Verdict, judge

pytestmark = pytest.mark.unit

FAST = Promise("Fast", "<= 2 x", "{seconds.ratio:.1f} x", "copy", Command("fast"), ("seconds.ratio <= 2",))
LARGE = Promise("Large", ">= 9", "{size[3]:.0f}", "-", Command("large"), ("size[3] >= 9",))
DOCUMENT = f"""# Promises

Text.

{HEADER}
|---|---|---|---|---|
| Fast | <= 2 x | 1.0 x | copy | `fast` |
| Gone | - | 3 | - | `gone` |

Machine: an old one
"""


def run(command: str, *figures: Figure, status: int | None = 0) -> Run:
    return Run(command, status, 1.0, 0.0, "2026-01-01T00:00:00+00:00", figures)


def test_a_promise_within_its_limits_is_met() -> None:
    assert judge(FAST, run("fast", Figure("seconds", 3.0, "s", floor=2.0))) == Outcome(
        FAST, "1.5 x", Verdict.MET
    )


def test_a_miss_needs_an_explanation() -> None:
    missed = run("fast", Figure("seconds", 5.0, "s", floor=2.0))
    found = judge(FAST, missed)
    assert (found.measured, found.verdict, found.explained) == ("2.5 x; missed", Verdict.MISSED, False)
    found = judge(replace(FAST, why_missed="the disk is slow"), missed)
    assert (found.measured, found.explained) == ("2.5 x; missed: the disk is slow", True)


@pytest.mark.parametrize(("size", "verdict"), [(9, Verdict.MET), (8, Verdict.MISSED)])
def test_a_limit_may_be_a_lowest_value(size: int, verdict: Verdict) -> None:
    assert judge(LARGE, run("large", Figure("size", size, "", 3))).verdict is verdict


@pytest.mark.parametrize(("status", "text"), [(1, "exit status 1"), (None, "no end within 1 s")])
def test_a_command_that_fails_is_no_measurement(status: int | None, text: str) -> None:
    found = judge(FAST, run("fast", status=status))
    assert (found.measured, found.verdict, found.explained) == (text, Verdict.FAILED, False)


def test_a_command_that_did_not_run_is_no_measurement() -> None:
    found = judge(FAST, None)
    assert (found.verdict, found.explained) == (Verdict.NOT_MEASURED, False)


def test_the_document_gets_the_rows_of_all_promises() -> None:
    found = [
        judge(FAST, run("fast", Figure("seconds", 3.0, "s", floor=2.0))),
        judge(LARGE, run("large", Figure("size", 9, "", 3))),
    ]
    text = rewritten(DOCUMENT, found, "a new one", ["benchmarks/plots/fast.svg"])
    assert [(row.name, row.measured, row.command) for row in rows(text)] == [
        ("Fast", "1.5 x", "fast"),
        ("Large", "9", "large"),
    ]
    assert text.startswith("# Promises\n\nText.\n")
    assert text.endswith("\n\nMachine: a new one\n\nPlots: [fast](benchmarks/plots/fast.svg)\n")
    assert rewritten(text, found, "a new one", ["benchmarks/plots/fast.svg"]) == text


def test_a_row_that_was_not_measured_keeps_its_text() -> None:
    found = [judge(FAST, None), judge(LARGE, run("large", status=1))]
    text = rewritten(DOCUMENT, found, "a new one", [])
    assert [row.measured for row in rows(text)] == ["1.0 x", "-"]
