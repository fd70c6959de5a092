"""A soak of cells on an engine that restarts below its containers; `make soak` runs it for 30 minutes."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chaos.cells import observed_cells
from tests.chaos.soak import Soak
from tests.support.thorough import THOROUGH

if TYPE_CHECKING:
    from tests.support.engines import OpenEngine

MINUTES = float(os.environ.get("DIEGO_CELL_CHAOS_MINUTES", "1"))
SEED = int(os.environ.get("DIEGO_CELL_CHAOS_SEED", "0")) or random.randrange(1, 1 << 31)

pytestmark = [
    pytest.mark.docker,
    pytest.mark.alone,
    pytest.mark.timeout(1200 + MINUTES * 60),
    pytest.mark.skipif(
        not (THOROUGH or "DIEGO_CELL_CHAOS_MINUTES" in os.environ), reason="`make soak` and `make test-all`"
    ),
]


async def test_cells_lose_and_leave_nothing(tmp_path: Path, own_engine: OpenEngine) -> None:
    with own_engine("--live-restore") as engine:
        async with observed_cells(
            tmp_path, 2, docker_host=engine.docker_host, on_stop="hand-over", convergence_s=3
        ) as (
            cells,
            seen,
        ):
            soak = Soak(cells, engine, seen, random.Random(SEED))
            try:
                with seen.summary.phase("begin"):
                    await soak.begin()
                until = time.monotonic() + MINUTES * 60
                while time.monotonic() < until:
                    await soak.lap()
                    assert not (wrong := seen.verdict()), "\n".join(wrong)
                with seen.summary.phase("end"):
                    await soak.end()
            finally:
                print("", f"soak: DIEGO_CELL_CHAOS_SEED={SEED} repeats it", *seen.report(), sep="\n")
    assert not (wrong := seen.verdict()), "\n".join(wrong)
