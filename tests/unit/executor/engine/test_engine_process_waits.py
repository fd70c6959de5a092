"""The event loop during starts of processes."""

from __future__ import annotations

from itertools import accumulate, takewhile

import pytest

from executor.engine.processstart import START_TIMEOUT_S, execution_pauses

pytestmark = pytest.mark.unit


def test_a_program_that_looks_like_the_one_before_is_looked_at_ever_less_often() -> None:
    """An app whose command line is that of the waiting child does not keep a core of the cell busy."""
    times = [*takewhile(START_TIMEOUT_S.__ge__, accumulate(execution_pauses()))]
    assert times[0] < 0.001
    assert len([at for at in times if at < 0.1]) > 5
    assert len(times) < 2 * START_TIMEOUT_S / 0.1
