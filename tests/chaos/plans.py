"""What each round of the kill loop does, derived from a seed and the number of the round.

A round can be repeated without the rounds before it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from common.failpoints import NAMES

SCALED_MOST = 3
LATEST_PASS = {
    "journal.before-commit": 40,
    "journal.after-commit": 40,
    "output.spliced": 1000,
    "output.written": 300,
    "output.saved": 100,
}
"""The latest pass at which a failpoint kills, if it is passed more often than a few times in a round."""
LATEST_USUAL_PASS = 3


@dataclass(frozen=True)
class Plan:
    """failpoint: where the agent dies, as in the variable; empty for a random moment.

    second_failpoint: where the next process dies, in its start or soon after; empty if it does not.
    instances: of the LRP that is scaled. crash_first: whether an app crashes before the agent dies, or after.
    pause_s: before a death at a random moment. away_s: from a death to the next start.
    """

    failpoint: str
    second_failpoint: str
    instances: int
    crash_first: bool
    pause_s: float
    away_s: float


def plan(seed: int, number: int) -> Plan:
    """The plan of a round, numbered from 1. Odd rounds have a failpoint in turn, others may have a second."""
    its = random.Random(f"{seed}/{number}")
    odd = number % 2 == 1
    failpoint = _armed(name_in_turn(seed, number // 2), its) if odd else ""
    second = _armed(its.choice(NAMES), its) if not odd and its.random() < 0.4 else ""
    return Plan(
        failpoint=failpoint,
        second_failpoint=second,
        instances=its.randint(1, SCALED_MOST),
        crash_first=its.random() < 0.5,
        pause_s=its.uniform(0, 1.5),
        away_s=its.uniform(0, 0.5),
    )


def name_in_turn(seed: int, turn: int) -> str:
    """Each failpoint comes once in as many turns as there are failpoints, in another order each time."""
    cycle, position = divmod(turn, len(NAMES))
    return random.Random(f"{seed}/failpoints/{cycle}").sample(NAMES, len(NAMES))[position]


def _armed(name: str, its: random.Random) -> str:
    return f"{name}=kill@{its.randint(1, LATEST_PASS.get(name, LATEST_USUAL_PASS))}"
