"""Kills of the agent under load, at random moments and at failpoints: no loss, no leftovers."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.failpoints import NAMES
from tests.chaos.cells import observed_cells
from tests.chaos.inventory import ENGINE
from tests.chaos.loop import Loop
from tests.chaos.plans import plan
from tests.support.engines import REMAP

if TYPE_CHECKING:
    from tests.support.engines import OpenEngine

USUAL_ROUNDS = 5
ROUNDS = int(os.environ.get("DIEGO_CELL_CHAOS_ROUNDS", str(USUAL_ROUNDS)))
APPS = 10 if ROUNDS > USUAL_ROUNDS else 6
"""At least one of each kind."""
SEED = int(os.environ.get("DIEGO_CELL_CHAOS_SEED", "0")) or random.randrange(1, 1 << 31)
FIRST = int(os.environ.get("DIEGO_CELL_CHAOS_FIRST", "1"))
"""The round to begin with: a run of the same seed goes on there."""
ENOUGH_ROUNDS = 4 * len(NAMES)
"""Each failpoint has had two turns."""
ROUND_LIMIT_S = 120


@dataclass(frozen=True)
class Variant:
    """engine: options of an engine of its own; none for the machine's. share: of the rounds."""

    name: str
    engine: tuple[str, ...] = ()
    before: str = "true"
    tls: bool = False
    share: float = 0.2


PLAIN = Variant("plain", share=1)
VARIANTS = (
    PLAIN,
    Variant("tls", tls=True),
    Variant("user-namespaces", ("--userns-remap=daemon",), REMAP),
    Variant("cgroup-namespaces", ("--default-cgroupns-mode=private",)),
)

pytestmark = [
    pytest.mark.docker,
    pytest.mark.alone,
    pytest.mark.timeout(600 + ROUNDS * ROUND_LIMIT_S),
]


@pytest.mark.parametrize(
    "variant", VARIANTS if ROUNDS > USUAL_ROUNDS else [PLAIN], ids=lambda each: each.name
)
async def test_nothing_is_lost(tmp_path: Path, own_engine: OpenEngine, variant: Variant) -> None:
    rounds = max(int(ROUNDS * variant.share), 1)
    with engine_of(variant, own_engine) as docker_host:
        async with observed_cells(tmp_path, 1, docker_host=docker_host, tls=variant.tls) as ((cell,), seen):
            loop = Loop(cell, seen, APPS)
            try:
                with seen.summary.phase("begin"):
                    await loop.begin(FIRST)
                for number in range(FIRST, FIRST + rounds):
                    await loop.round(plan(SEED, number))
                    assert not (wrong := seen.verdict()), "\n".join(wrong)
                with seen.summary.phase("end"):
                    await loop.end()
            finally:
                next_round = FIRST + seen.summary.rounds
                print("", f"kill loop, {variant.name}: {again(next_round)}", *seen.report(), sep="\n")
    assert not (wrong := seen.verdict()), "\n".join(wrong)
    if rounds >= ENOUGH_ROUNDS:
        assert not seen.summary.never_hit, "a failpoint that no work passes"


@contextmanager
def engine_of(variant: Variant, own_engine: OpenEngine) -> Iterator[str]:
    """The address of the engine of a variant."""
    if not variant.engine:
        yield ENGINE
        return
    with own_engine(*variant.engine, before=variant.before) as engine:
        yield engine.docker_host


def again(number: int) -> str:
    """How a run goes on with a round."""
    return f"DIEGO_CELL_CHAOS_SEED={SEED} DIEGO_CELL_CHAOS_FIRST={number} goes on from here"
