"""Costs stay what they are: a cost that grows by half fails, a busy machine does not.

Each cost is a median of CPU times, divided by that of a floor in the same process. Its bound is 1.5 x what
was measured on a busy machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.results import run
from benchmarks.verdicts import holds

pytestmark = [pytest.mark.unit, pytest.mark.alone]

GUARDS = {
    "steps": ("benchmarks.steps --sizes 300 --rounds 7", ["bare_tasks <= 7"]),
    "auction": ("benchmarks.control --only auction", ["auction_cpu[10000].ratio <= 160"]),
    "stored records": (
        "benchmarks.control --only 'list all' --scale 0.1",
        ["list_all_cpu[1000].ratio <= 6"],
    ),
    "log lines": ("benchmarks.logs --in-memory --lines 50000 --rounds 5", ["in_memory.ratio <= 18"]),
    "journal": (
        "benchmarks.journal --writes 500 --rounds 5",
        ["alone.ratio <= 5.5", "grouped.ratio <= 1.7"],
    ),
}


@pytest.mark.parametrize(("command", "bounds"), GUARDS.values(), ids=list(GUARDS))
def test_a_cost_stays_within_its_bound(command: str, bounds: Sequence[str]) -> None:
    done = run(command, limit_s=240)
    assert done.status == 0
    assert [bound for bound in bounds if not holds(bound, done.figures)] == [], done.figures
